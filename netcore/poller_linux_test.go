package netcore

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var mechanisms = []string{"epoll", "poll", "select"}

func newPoller(t testing.TB, mechanism string) Poller {
	t.Helper()
	p, err := NewPoller(mechanism)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

// poller is a Poller under test: its methods fail the test on an error.
type poller struct {
	Poller
	t *testing.T
}

func (p poller) add(fd int, interest Readiness, token uint64) {
	p.t.Helper()
	if err := p.Add(fd, interest, token); err != nil {
		p.t.Fatal(err)
	}
}

func (p poller) modify(fd int, interest Readiness, token uint64) {
	p.t.Helper()
	if err := p.Modify(fd, interest, token); err != nil {
		p.t.Fatal(err)
	}
}

// want waits until all bits have been reported for the token, in one event or several, and returns all that were.
func (p poller) want(token uint64, bits Readiness) Readiness {
	p.t.Helper()
	var seen Readiness
	var events [8]Event
	for end := time.Now().Add(patience); seen&bits != bits; {
		if time.Now().After(end) {
			p.t.Fatalf("token %d: got %v, want %v", token, seen, bits)
		}
		n, err := p.Wait(events[:], time.Second)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, e := range events[:n] {
			if e.Token == token {
				seen |= e.Ready
			}
		}
	}
	return seen
}

// never looks a few times and fails when one of the bits is reported for the token.
func (p poller) never(token uint64, bits Readiness) {
	p.t.Helper()
	var events [8]Event
	for range 4 {
		n, err := p.Wait(events[:], 2*time.Millisecond)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, e := range events[:n] {
			if e.Token == token && e.Ready&bits != 0 {
				p.t.Fatalf("token %d: %v is reported, want none of %v", token, e.Ready, bits)
			}
		}
	}
}

// TestPollerContract holds every mechanism to what Poller says. What only one of edge and level triggering would do is
// not expected of any.
func TestPollerContract(t *testing.T) {
	cases := []struct {
		name string
		run  func(t *testing.T, p poller)
	}{
		{"readiness there before Add", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			write(t, theirs, "x")
			p.add(ours, Readable|Writable, 7)
			p.want(7, Readable|Writable)
		}},
		{"readiness after Add", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			p.never(7, Readable)
			write(t, theirs, "x")
			p.want(7, Readable)
		}},
		{"again after reading to EAGAIN", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			for range 3 {
				write(t, theirs, "x")
				p.want(7, Readable)
				read(t, ours)
				p.never(7, Readable)
			}
		}},
		{"Modify reports again what is there", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			write(t, theirs, "x")
			p.add(ours, Readable, 7)
			p.want(7, Readable)
			for range 3 {
				p.modify(ours, Readable, 7)
				p.want(7, Readable)
			}
		}},
		{"Modify changes the token", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			p.modify(ours, Readable, 1<<63|9)
			write(t, theirs, "x")
			p.want(1<<63|9, Readable)
			p.never(7, Readable)
		}},
		{"pause and resume", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			p.modify(ours, 0, 7)
			write(t, theirs, "x")
			p.never(7, Readable|PeerClosed)
			p.modify(ours, Readable, 7)
			p.want(7, Readable)
		}},
		{"added paused", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			write(t, theirs, "x")
			p.add(ours, 0, 7)
			p.never(7, Readable|Writable)
			p.modify(ours, Readable, 7)
			p.want(7, Readable)
		}},
		{"a half-close while paused waits for the resume", func(t *testing.T, p poller) {
			server, client := tcpPair(t)
			p.add(server, 0, 7)
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, server, unix.POLLRDHUP)
			p.never(7, Readable|PeerClosed)
			p.modify(server, Readable, 7)
			p.want(7, Readable|PeerClosed)
		}},
		{"only Writable interest", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			write(t, theirs, "x")
			p.add(ours, Writable, 7)
			if seen := p.want(7, Writable); seen&Readable != 0 {
				t.Errorf("got %v", seen)
			}
		}},
		{"Writable comes back when there is room", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			chunk := make([]byte, 64<<10)
			for {
				if _, err := Write(ours, chunk); err != nil {
					wantErrno(t, err, unix.EAGAIN)
					break
				}
			}
			p.add(ours, Writable, 7)
			p.never(7, Writable)
			for {
				if _, err := Read(theirs, chunk); err != nil {
					wantErrno(t, err, unix.EAGAIN)
					break
				}
			}
			p.want(7, Writable)
		}},
		{"half-close of the peer", func(t *testing.T, p poller) {
			server, client := tcpPair(t)
			p.add(server, Readable, 7)
			if _, err := client.Write([]byte("last")); err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if seen := p.want(7, Readable|PeerClosed); seen&Hangup != 0 {
				t.Errorf("a half-close is reported as %v", seen)
			}
			if text := read(t, server); text != "last" {
				t.Errorf("read %q", text)
			}
			if n, err := Read(server, make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("at the end: %d, %v", n, err)
			}
			if _, err := Send(server, []byte("answer"), false); err != nil {
				t.Errorf("the other direction: %v", err)
			}
		}},
		{"RST", func(t *testing.T, p poller) {
			server, client := tcpPair(t)
			p.add(server, Readable, 7)
			if err := client.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			p.want(7, Hangup)
			wantErrno(t, SocketError(server), unix.ECONNRESET)
			if err := SocketError(server); err != nil {
				t.Errorf("the error is not cleared: %v", err)
			}
		}},
		{"RST while paused: at most Hangup, and Wait sleeps", func(t *testing.T, p poller) {
			server, client := tcpPair(t)
			p.add(server, 0, 7)
			_ = client.SetLinger(0)
			_ = client.Close()
			waitFor(t, server, unix.POLLHUP|unix.POLLERR)
			p.never(7, Readable|Writable|PeerClosed)
			var events [4]Event
			if n, err := p.Wait(events[:], time.Millisecond); n != 0 || err != nil {
				t.Errorf("the second Wait: %v, %v", events[:n], err)
			}
			p.modify(server, Readable, 7)
			p.want(7, Hangup)
		}},
		{"a closed peer", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			closeNow(t, theirs)
			p.want(7, Readable|Hangup|PeerClosed)
		}},
		{"a listener", func(t *testing.T, p poller) {
			listener, at := loopback(t, ListenOptions{})
			p.add(listener, Readable, 7)
			p.never(7, Readable)
			for range 2 {
				client, err := net.Dial("tcp", at.String())
				if err != nil {
					t.Fatal(err)
				}
				p.want(7, Readable)
				conn, _ := acceptOne(t, listener)
				_ = Close(conn)
				_ = client.Close()
			}
			_, _, err := Accept(listener)
			wantErrno(t, err, unix.EAGAIN)
		}},
		{"Remove silences", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			write(t, theirs, "x")
			if err := p.Remove(ours); err != nil {
				t.Fatal(err)
			}
			p.never(7, ^Readiness(0))
			p.add(ours, Readable, 8)
			p.want(8, Readable)
			p.never(7, ^Readiness(0))
		}},
		{"Remove, although a duplicate lives on", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			other, err := unix.FcntlInt(uintptr(ours), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = Close(other) }()
			p.add(ours, Readable, 7)
			if err := p.Remove(ours); err != nil {
				t.Fatal(err)
			}
			closeNow(t, ours)
			write(t, theirs, "x")
			p.never(7, ^Readiness(0))
		}},
		{"Forget, close, and the number is used again", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			write(t, theirs, "x")
			p.Forget(ours)
			closeNow(t, ours)
			next, far := pair(t)
			if next != ours && far != ours {
				t.Fatalf("the kernel gave %d and %d, not %d again", next, far, ours)
			}
			if next != ours {
				next, far = far, next
			}
			p.add(next, Readable, 8)
			p.never(8, Readable)
			write(t, far, "y")
			p.want(8, Readable)
			p.never(7, ^Readiness(0))
		}},
		{"misuse", func(t *testing.T, p poller) {
			ours, _ := pair(t)
			wantErrno(t, p.Remove(ours), unix.ENOENT)
			wantErrno(t, p.Modify(ours, Readable, 7), unix.ENOENT)
			p.Forget(ours)
			p.Forget(-1)
			if err := p.Add(-1, Readable, 7); err == nil {
				t.Error("Add(-1) succeeds")
			}
			p.add(ours, Readable, 7)
			wantErrno(t, p.Add(ours, Readable, 7), unix.EEXIST)
			_, err := p.Wait(nil, 0)
			wantErrno(t, err, unix.EINVAL)
		}},
		{"timeouts", func(t *testing.T, p poller) {
			var events [4]Event
			for _, timeout := range []time.Duration{0, 5 * time.Millisecond, 30 * time.Millisecond, 10 * time.Millisecond, time.Microsecond} {
				start := time.Now()
				n, err := p.Wait(events[:], timeout)
				if n != 0 || err != nil {
					t.Errorf("Wait(%v): %d, %v", timeout, n, err)
				}
				if took := time.Since(start); took < timeout {
					t.Errorf("Wait(%v) took %v", timeout, took)
				}
			}
		}},
		{"a timeout that is nearly for ever", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			write(t, theirs, "x")
			var events [4]Event
			if n, err := p.Wait(events[:], 1<<63-1); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}},
		{"a shorter timeout after a longer one", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			var events [4]Event
			woken := make(chan struct{})
			go func() {
				defer close(woken)
				_, _ = Write(theirs, []byte("x"))
			}()
			if _, err := p.Wait(events[:], time.Hour); err != nil {
				t.Fatal(err)
			}
			<-woken
			p.want(7, 0)
			read(t, ours)
			if n, err := p.Wait(events[:], 5*time.Millisecond); err != nil || n > 1 {
				t.Fatal(n, err)
			}
		}},
		{"Wake before Wait is sticky", func(t *testing.T, p poller) {
			for range 3 {
				for range 2 {
					if err := p.Wake(); err != nil {
						t.Fatal(err)
					}
				}
				var events [4]Event
				if n, err := p.Wait(events[:], -1); n != 0 || err != nil {
					t.Fatal(n, err)
				}
				start := time.Now()
				if n, err := p.Wait(events[:], 5*time.Millisecond); n != 0 || err != nil {
					t.Fatal(n, err)
				}
				if took := time.Since(start); took < 5*time.Millisecond {
					t.Errorf("the Wake is used up, but Wait ended after %v", took)
				}
			}
		}},
		{"Wake during Wait", func(t *testing.T, p poller) {
			var events [4]Event
			for range 50 {
				done := make(chan error)
				go func() {
					runtime.Gosched()
					done <- p.Wake()
				}()
				if n, err := p.Wait(events[:], -1); n != 0 || err != nil {
					t.Fatal(n, err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"Wake with a timeout armed, then a timeout", func(t *testing.T, p poller) {
			var events [4]Event
			for range 20 {
				done := make(chan error)
				go func() { done <- p.Wake() }()
				start := time.Now()
				if n, err := p.Wait(events[:], time.Hour); n != 0 || err != nil {
					t.Fatal(n, err)
				}
				if time.Since(start) > patience {
					t.Fatal("the Wake came late")
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if n, err := p.Wait(events[:], time.Millisecond); n != 0 || err != nil {
					t.Fatal(n, err)
				}
			}
		}},
		{"Wake does not hide events", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			write(t, theirs, "x")
			if err := p.Wake(); err != nil {
				t.Fatal(err)
			}
			p.want(7, Readable)
		}},
		{"a queue with many producers loses no wake-up", func(t *testing.T, p poller) {
			const producers, each = 8, 2000
			var queue Queue[int]
			var group sync.WaitGroup
			for range producers {
				group.Go(func() {
					for i := range each {
						if queue.Push(i) {
							if err := p.Wake(); err != nil {
								t.Error(err)
							}
						}
						if i%64 == 0 {
							runtime.Gosched()
						}
					}
				})
			}
			var events [4]Event
			var got []int
			for count := 0; count < producers*each; {
				got = queue.Take(got)
				count += len(got)
				if count == producers*each || !queue.Sleep() {
					continue
				}
				start := time.Now()
				if _, err := p.Wait(events[:], patience); err != nil {
					t.Fatal(err)
				}
				if time.Since(start) >= patience {
					t.Fatalf("a wake-up is lost after %d values", count)
				}
				queue.Awake()
			}
			group.Wait()
		}},
		{"many descriptors, few events", func(t *testing.T, p poller) {
			const many = 150
			seen := map[uint64]bool{}
			for i := range many {
				ours, theirs := pair(t)
				p.add(ours, Readable, MakeToken(ours, uint32(i)))
				write(t, theirs, "x")
			}
			var events [7]Event
			for turn := 0; len(seen) < many; turn++ {
				if turn > 2*many {
					t.Fatalf("%d of %d are reported after %d turns: somebody starves", len(seen), many, turn)
				}
				n, err := p.Wait(events[:], patience)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range events[:n] {
					seen[e.Token] = true
				}
			}
		}},
		{"EINTR is hidden", func(t *testing.T, p poller) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			thread := unix.Gettid()
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						// SIGURG is the runtime's own, and one that it does not expect is ignored.
						_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
					}
				}
			}()
			var events [4]Event
			const timeout = 40 * time.Millisecond
			start := time.Now()
			n, err := p.Wait(events[:], timeout)
			took := time.Since(start)
			close(stop)
			<-stopped
			if n != 0 || err != nil || took < timeout {
				t.Errorf("%d, %v after %v", n, err, took)
			}
		}},
		{"after Close", func(t *testing.T, p poller) {
			ours, _ := pair(t)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			wantErrClosed(t, p.Wake())
			p.Forget(ours)
			wantErrClosed(t, p.Close())
		}},
		{"no allocations", func(t *testing.T, p poller) {
			ours, theirs := pair(t)
			p.add(ours, Readable, 7)
			write(t, theirs, "x")
			events := make([]Event, 16)
			check := func(n int, err error, want int) {
				if n != want || err != nil {
					t.Fatal(n, err)
				}
			}
			wantNoAllocs(t, "Wait with events", func() {
				_ = p.Modify(ours, Readable, 7)
				n, err := p.Wait(events, time.Second)
				check(n, err, 1)
			})
			if err := p.Modify(ours, 0, 7); err != nil {
				t.Fatal(err)
			}
			wantNoAllocs(t, "Wait with a timeout", func() {
				n, err := p.Wait(events, time.Microsecond)
				check(n, err, 0)
			})
			wantNoAllocs(t, "Wake", func() {
				_ = p.Wake()
				n, err := p.Wait(events, -1)
				check(n, err, 0)
			})
			wantNoAllocs(t, "Add and Remove", func() {
				_ = p.Remove(ours)
				_ = p.Add(ours, 0, 7)
			})
		}},
	}
	for _, mechanism := range mechanisms {
		t.Run(mechanism, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					c.run(t, poller{newPoller(t, mechanism), t})
				})
			}
		})
	}
}

func wantErrClosed(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v, want %v", err, os.ErrClosed)
	}
}

// TestEpollParks holds the epoll poller to what it is for: while it waits, the goroutine is parked and holds no thread.
func TestEpollParks(t *testing.T) {
	p := newPoller(t, "")
	if _, ok := p.(*epollPoller); !ok {
		t.Fatalf("the default is %T", p)
	}
	done := make(chan error)
	go func() {
		_, err := p.Wait(make([]Event, 1), -1)
		done <- err
	}()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		text := string(stacks[:runtime.Stack(stacks, true)])
		if at := strings.Index(text, "(*epollPoller).park"); at >= 0 {
			header := text[:at]
			header = header[strings.LastIndex(header, "goroutine "):]
			if strings.Contains(header[:strings.IndexByte(header, '\n')], "[IO wait") {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("the waiting goroutine is never in IO wait")
		}
	}
	if err := p.Wake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestEpollKeepsAnArmedDeadline: a loop waits with much the same timeout at every turn, and moves no runtime timer for it.
func TestEpollKeepsAnArmedDeadline(t *testing.T) {
	p := newPoller(t, "epoll").(*epollPoller)
	now := Now()
	due := now + int64(time.Hour)
	arm := func(now, due int64) int64 {
		if err := p.arm(now, due); err != nil {
			t.Fatal(err)
		}
		return p.armed
	}
	if got := arm(now, due); got != due {
		t.Fatalf("armed %d, want %d", got, due)
	}
	steps := []struct {
		name     string
		due      int64
		want     int64
		nowShift time.Duration
	}{
		{"a little later stays", due + 1000, due, 0},
		{"much later stays, for an early wake does no harm", due + int64(time.Hour), due, 0},
		{"a little earlier stays", due - int64(time.Minute), due, 0},
		{"for ever stays", forever, due, 0},
		{"much earlier is set", now + int64(time.Minute), now + int64(time.Minute), 0},
		{"one in the past is replaced", due, due, 2 * time.Minute},
		{"and for ever drops one in the past", forever, 0, 2 * time.Hour},
		{"for ever again changes nothing", forever, 0, 3 * time.Hour},
	}
	for _, s := range steps {
		if got := arm(now+int64(s.nowShift), s.due); got != s.want {
			t.Errorf("%s: armed %v, want %v", s.name, got, s.want)
		}
	}
}

func TestNewPollerUnknown(t *testing.T) {
	if p, err := NewPoller("kqueue"); err == nil || p != nil || !strings.Contains(err.Error(), "epoll, poll and select") {
		t.Errorf("%v, %v", p, err)
	}
}

func TestSelectRefusesHighDescriptors(t *testing.T) {
	p := newPoller(t, "select")
	ours, _ := pair(t)
	high, err := unix.FcntlInt(uintptr(ours), unix.F_DUPFD_CLOEXEC, unix.FD_SETSIZE)
	if err != nil {
		t.Skipf("no descriptor above %d: %v", unix.FD_SETSIZE, err)
	}
	defer func() { _ = Close(high) }()
	err = p.Add(high, Readable, 1)
	wantErrno(t, err, unix.EINVAL)
	if err != nil && !strings.Contains(err.Error(), "below 1024") {
		t.Errorf("the error does not say why: %v", err)
	}
	wantErrno(t, p.Remove(high), unix.ENOENT)
	wantErrno(t, p.Modify(high, Readable, 1), unix.ENOENT)
	p.Forget(high)
	for _, mechanism := range []string{"epoll", "poll"} {
		if err := newPoller(t, mechanism).Add(high, Readable, 1); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

func TestReadinessString(t *testing.T) {
	for r, want := range map[Readiness]string{
		0:                     "none",
		Readable:              "readable",
		Readable | PeerClosed: "readable|peer_closed",
		^Readiness(0):         "readable|writable|hangup|peer_closed",
	} {
		if got := r.String(); got != want {
			t.Errorf("%d: %q, want %q", r, got, want)
		}
	}
}

func TestNow(t *testing.T) {
	a := Now()
	if b := Now(); a <= 0 || b < a {
		t.Errorf("%d, then %d", a, b)
	}
	if since := time.Since(timeAt(a)); since < 0 || since > patience {
		t.Errorf("timeAt is off by %v", since)
	}
}

// BenchmarkWait: one descriptor that is ready among many that are not.
func BenchmarkWait(b *testing.B) {
	for _, mechanism := range mechanisms {
		for _, idle := range []int{0, 400} {
			b.Run(fmt.Sprintf("%s/idle=%d", mechanism, idle), func(b *testing.B) {
				p := newPoller(b, mechanism)
				for range idle / 2 {
					ours, theirs := pair(b)
					_ = p.Add(ours, Readable, 1)
					_ = p.Add(theirs, Readable, 1)
				}
				ours, theirs := pair(b)
				if err := p.Add(ours, Readable, 7); err != nil {
					b.Fatal(err)
				}
				events, one := make([]Event, 64), []byte{1}
				b.ReportAllocs()
				for b.Loop() {
					_, _ = Write(theirs, one)
					if n, err := p.Wait(events, -1); n != 1 || err != nil {
						b.Fatal(n, err)
					}
					_, _ = Read(ours, one)
				}
			})
		}
	}
}

// BenchmarkWakeParked: another goroutine wakes the one that waits, and waits for its answer.
func BenchmarkWakeParked(b *testing.B) {
	for _, mechanism := range mechanisms {
		b.Run(mechanism, func(b *testing.B) {
			p := newPoller(b, mechanism)
			ask, answer := make(chan struct{}, 1), make(chan struct{})
			go func() {
				for range ask {
					_ = p.Wake()
				}
				close(answer)
			}()
			events := make([]Event, 64)
			b.ReportAllocs()
			for b.Loop() {
				ask <- struct{}{}
				if n, err := p.Wait(events, time.Minute); n != 0 || err != nil {
					b.Fatal(n, err)
				}
			}
			close(ask)
			<-answer
		})
	}
}

// BenchmarkWaitParked: the descriptor becomes ready while the goroutine is parked.
func BenchmarkWaitParked(b *testing.B) {
	for _, mechanism := range mechanisms {
		b.Run(mechanism, func(b *testing.B) {
			p := newPoller(b, mechanism)
			ours, theirs := pair(b)
			if err := p.Add(ours, Readable, 7); err != nil {
				b.Fatal(err)
			}
			ask, answer := make(chan struct{}, 1), make(chan struct{})
			go func() {
				one := []byte{1}
				for range ask {
					_, _ = Write(theirs, one)
				}
				close(answer)
			}()
			events, one := make([]Event, 64), []byte{1}
			b.ReportAllocs()
			for b.Loop() {
				ask <- struct{}{}
				if n, err := p.Wait(events, time.Minute); n != 1 || err != nil {
					b.Fatal(n, err)
				}
				_, _ = Read(ours, one)
			}
			close(ask)
			<-answer
		})
	}
}
