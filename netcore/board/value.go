package board

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxValue is the longest text of a Value in bytes. With its name it fits into one message to a child.
const MaxValue = 32 << 10

// SetBound is how long a Set waits for the process that decides, and for the sets before it.
const SetBound = 5 * time.Second

// ErrTooLong: the text is over MaxValue. Nothing was set.
var ErrTooLong = fmt.Errorf("the text is longer than %d bytes", MaxValue)

// ErrNoMaster: the master is gone or does not answer. What was to be set may be set all the same if it only was slow.
var ErrNoMaster = errors.New("the master does not answer")

// Value is a text that every process of a server has a copy of. The master's copy is the one that counts: it gives each text a revision,
// and the others follow it. So all see the same texts in the same order, though a slow one may skip some.
//
// Any goroutine may use it. Get never waits.
type Value struct {
	name string
	now  atomic.Pointer[reading]

	replacing sync.Mutex // held while now is replaced

	// setting is a lock that is waited for with a bound: whoever has put a token in may set. One Set at a time is on its way to the
	// process that decides, however many goroutines call it.
	setting chan struct{}
	carry   Carry // under setting; nil: this process decides
}

// reading is one text of a value, immutable.
type reading struct {
	text     string
	revision uint64        // 0: nobody has set it
	over     chan struct{} // closed when another reading has taken this one's place
}

// Carry takes a text to the master and returns the revision that it was given. It gives up at the time by.
type Carry func(name, text string, by time.Time) (revision uint64, err error)

func newValue(name string) *Value {
	v := &Value{name: name, setting: make(chan struct{}, 1)}
	v.now.Store(&reading{over: make(chan struct{})})
	return v
}

// Name is what the value was registered with.
func (v *Value) Name() string { return v.name }

// Get returns the text; "" before the first Set.
func (v *Value) Get() string { return v.now.Load().text }

// Reading returns the text with its revision, 0 before the first Set.
func (v *Value) Reading() (text string, revision uint64) {
	r := v.now.Load()
	return r.text, r.revision
}

// Changed returns a channel that is closed at the next change after the call.
func (v *Value) Changed() <-chan struct{} { return v.now.Load().over }

// Set replaces the text. When it has returned nil, Get of this process returns the text or a later one, and the other processes are
// being told. It waits for SetBound at most. Errors: ErrTooLong, ErrNoMaster.
func (v *Value) Set(text string) error {
	if len(text) > MaxValue {
		return fmt.Errorf("set %q: %w: %d", v.name, ErrTooLong, len(text))
	}
	by := time.Now().Add(SetBound)
	if !v.lock(SetBound) {
		return fmt.Errorf("set %q: %w", v.name, ErrNoMaster)
	}
	defer v.unlock()
	if v.carry == nil {
		v.Advance(text)
		return nil
	}
	revision, err := v.carry(v.name, text, by)
	if err != nil {
		return fmt.Errorf("set %q: %w", v.name, err)
	}
	v.Follow(text, revision)
	return nil
}

func (v *Value) lock(bound time.Duration) bool {
	select {
	case v.setting <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case v.setting <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (v *Value) unlock() { <-v.setting }

// Advance gives text the next revision. It is for the process that decides, and does not wait.
func (v *Value) Advance(text string) (revision uint64) {
	v.replacing.Lock()
	defer v.replacing.Unlock()
	revision = v.now.Load().revision + 1
	v.replace(text, revision)
	return revision
}

// Follow takes over what the deciding process has decided, unless it is older than what is here.
func (v *Value) Follow(text string, revision uint64) {
	v.replacing.Lock()
	defer v.replacing.Unlock()
	if revision > v.now.Load().revision {
		v.replace(text, revision)
	}
}

func (v *Value) replace(text string, revision uint64) {
	close(v.now.Swap(&reading{text: text, revision: revision, over: make(chan struct{})}).over)
}

// submit makes this process one that follows. What it has set so far is forgotten.
func (v *Value) submit(carry Carry) {
	v.setting <- struct{}{}
	v.carry = carry
	v.unlock()
	v.replacing.Lock()
	v.replace("", 0)
	v.replacing.Unlock()
}
