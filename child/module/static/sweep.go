package static

import (
	"sync"
	"time"
)

const (
	// sweepEvery is how often the entries that are in use are looked at, those that are due. With renewAfter it is less than trustFor, so that
	// a file that is asked for all the time is answered from the cache all the time.
	sweepEvery = 200 * time.Millisecond
	// sweepBurst is how many entries are looked at before others have their turn: some 150 µs.
	sweepBurst = 64
)

// breathe lets the loop have the processor, which it shares with what takes long. Gosched would not: Go's scheduler looks for what the network
// brings only when nothing else can run, and by itself every 10 ms. So nothing else can, for a moment: some 50 µs under load, up to a
// millisecond on an idle server, where nobody waits.
func breathe() { time.Sleep(20 * time.Microsecond) }

// A sweeper looks at the files in use, so that no request has to wait for that. It rests while none is.
type sweeper struct {
	mu      sync.Mutex
	running bool
	closed  bool
	timer   *time.Timer
}

// wake sees to it that the sweeper works.
func (s *server) wake() {
	w := &s.sweeper
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running || w.closed {
		return
	}
	w.running = true
	if w.timer == nil {
		w.timer = time.AfterFunc(sweepEvery, s.tick)
		return
	}
	w.timer.Reset(sweepEvery)
}

// tick is one round of the sweeper, in a goroutine of its own.
func (s *server) tick() {
	s.sweep()
	w := &s.sweeper
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running = !w.closed && s.cache.awaits(); w.running {
		w.timer.Reset(sweepEvery)
	}
}

// rest ends the sweeper.
func (s *server) rest() {
	w := &s.sweeper
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// sweep looks at what is due: what has changed leaves the cache, and is found anew by the next request.
func (s *server) sweep() {
	for n := 1; ; n++ {
		now := s.now()
		e := s.cache.nextDue(now)
		if e == nil {
			return
		}
		dir, err := s.root.acquire(now)
		if err == nil {
			switch same, sure := s.unchanged(dir.fd, e); {
			case same:
				s.cache.renew(e, now)
				if s.packer != nil {
					s.packer.keep(e, now)
				}
			case sure:
				s.cache.forget(e)
			}
			dir.Release()
		} else {
			s.cache.forget(e)
		}
		if n%sweepBurst == 0 {
			breathe()
		}
	}
}
