package child

import (
	"runtime/debug"
	"time"

	"github.com/tined/tined/netcore"
)

// When a burst is over, its memory goes back to the system within seconds. By itself Go collects a process that does nothing only
// every two minutes, and then keeps most of what it has collected for a next burst.
const (
	// ebbPeriod is how often a child looks whether the burst is over, in ns.
	ebbPeriod = int64(5 * time.Second)
	// ebbQuiet is how many deeds of a period are still quiet: releasing takes some milliseconds, which busy clients would notice.
	ebbQuiet = 100
	// ebbDeeds is how many deeds make enough garbage to be worth it.
	ebbDeeds = 256
)

// An ebb decides when memory is released. It belongs to the loop.
type ebb struct {
	timer    netcore.Timer // armed from the first deeds of a burst to its end
	seen     int64         // deeds at the last look
	released int64         // deeds at the last release
	release  func()        // may block; nil: never
}

// releaseMemory gives back all memory that is free or garbage.
func releaseMemory() { go debug.FreeOSMemory() }

// stirred takes note of garbage that no deed has left: a configuration was built, or is no longer needed.
func (l *loop) stirred() { l.ebb.released -= ebbDeeds }

// deeds counts what leaves garbage behind: connections that have come, those that have gone, and exchanges.
func (l *loop) deeds() int64 {
	return int64(2*(l.numbers.accepted+l.numbers.movedIn)+l.numbers.begun) - int64(l.table.Len())
}

// watchEbb begins to look for the end of a burst.
func (l *loop) watchEbb() {
	e := &l.ebb
	if e.release != nil && !e.timer.Armed() && l.deeds()-e.released >= ebbDeeds {
		e.seen = l.deeds()
		l.wheel.Schedule(&e.timer, l.now+ebbPeriod)
	}
}

// turnOfTide is called a period after the last look.
func (l *loop) turnOfTide() {
	e := &l.ebb
	deeds := l.deeds()
	if deeds-e.seen > ebbQuiet {
		e.seen = deeds
		l.wheel.Schedule(&e.timer, l.now+ebbPeriod)
		return
	}
	e.released = deeds
	l.dropFree()
	e.release()
}
