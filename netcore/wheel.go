package netcore

import (
	"fmt"
	"math/bits"
)

// The wheel has wheelLevels rings of 64 slots. A slot of ring n spans 64^n ticks, so all rings together span 64^6 ticks;
// a timer beyond them is linked at their end and linked again when that comes.
const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 6
	wheelSpan   = int64(1) << (wheelBits * wheelLevels) // in ticks
)

// Values of Timer.place. Above them: placeRing + ring*wheelSlots + slot.
const (
	placeNone    = 0 // not armed
	placeExpired = 1 // Advance has taken it from its slot and will look at it
	placeRing    = 2
)

// Timer is a deadline, made to be embedded in what it belongs to. Key is its owner's, such as MakeToken(fd, serial), and
// is left alone. The zero value is not armed. An armed timer must not be copied.
type Timer struct {
	Key   uint64
	due   int64 // in nanoseconds, as the caller of Schedule counts
	next  *Timer
	prev  *Timer
	place uint16
}

// Armed says whether the timer is scheduled and has neither fired nor been cancelled.
func (t *Timer) Armed() bool { return t.place != placeNone }

// Due is the time of the last Schedule.
func (t *Timer) Due() int64 { return t.due }

// Wheel is a hierarchical timing wheel for very many timers that are moved often and seldom fire. Time is a parameter:
// any monotonic nanoseconds from 0 up, such as Now.
//
// A timer fires at the first Advance that reaches its due time rounded up to a tick: never early, and late by less than
// one tick plus the delay of the Advance. Scheduled at or before the present tick, it fires one tick later.
//
// Moving a deadline away costs a store: the timer stays in its slot, and is linked anew when the slot comes up (that is
// what a keep-alive connection does at each request). The cost of Advance does not grow with the time that it skips.
// Owner: the loop.
type Wheel struct {
	tick    int64 // nanoseconds
	current int64 // the tick of the last Advance; every linked timer's slot starts after it
	rings   [wheelLevels]ring
	expired *Timer
	busy    bool // Advance is under way
}

type ring struct {
	used  uint64 // bit n: slot n is not empty
	slots [wheelSlots]*Timer
}

// NewWheel makes a wheel with a tick in nanoseconds (at least 1), that begins at now.
func NewWheel(tick, now int64) *Wheel {
	if tick < 1 || now < 0 {
		panic(fmt.Sprintf("netcore: NewWheel(%d, %d)", tick, now))
	}
	return &Wheel{tick: tick, current: now / tick}
}

// Schedule arms the timer for due, in nanoseconds, or moves it there if it is armed. During Advance it never makes a
// timer fire in that same Advance. The cost does not depend on the number of timers.
func (w *Wheel) Schedule(t *Timer, due int64) {
	t.due = due
	if t.place >= placeRing && w.dueTick(due) >= w.start(t.place) {
		return // lazy: its slot comes up in time to look at the new due
	}
	w.unlink(t)
	w.link(t)
}

// Cancel disarms the timer. It is no error if the timer is not armed.
func (w *Wheel) Cancel(t *Timer) { w.unlink(t) }

// Advance moves the wheel to now and calls fire for each timer that is due, once, in no order that can be relied on. The
// timer is not armed any more when fire gets it. fire may Schedule and Cancel any timer, and must not call Advance. A now
// that is not later than the last one's tick does nothing.
func (w *Wheel) Advance(now int64, fire func(*Timer)) {
	if w.busy {
		panic("netcore: Wheel.Advance inside fire")
	}
	target := now / w.tick
	if target <= w.current {
		return
	}
	w.collect(target)
	w.busy = true
	for w.expired != nil {
		t := w.expired
		w.unlink(t)
		if w.dueTick(t.due) > w.current {
			w.link(t) // it was moved away since, or comes down from a higher ring
			continue
		}
		fire(t)
	}
	w.busy = false
}

// collect takes the timers out of all slots that begin after the current tick and not after target, and makes target the
// current tick.
func (w *Wheel) collect(target int64) {
	for level := range w.rings {
		r := &w.rings[level]
		shift := uint(level * wheelBits)
		from := w.current >> shift
		passed := target>>shift - from
		if passed == 0 {
			break // then no higher ring has passed a slot either
		}
		// The slots from+1 to from+passed, seen from from+1.
		first := int(uint64(from+1) % wheelSlots)
		hits := bits.RotateLeft64(r.used, -first)
		if passed < wheelSlots {
			hits &= 1<<uint(passed) - 1
		}
		for ; hits != 0; hits &= hits - 1 {
			w.expire(r, (first+bits.TrailingZeros64(hits))%wheelSlots)
		}
	}
	w.current = target
}

// expire moves the timers of a slot to the expired list.
func (w *Wheel) expire(r *ring, slot int) {
	head := r.slots[slot]
	r.slots[slot] = nil
	r.used &^= 1 << uint(slot)
	last := head
	for t := head; t != nil; t = t.next {
		t.place = placeExpired
		last = t
	}
	last.next = w.expired
	if w.expired != nil {
		w.expired.prev = last
	}
	w.expired = head
}

// Next is a lower bound of the time at which Advance has something to do: until then a call does nothing, and at it some
// timers fire or are linked anew. ok is false when no timer is armed. It must not be called inside fire.
func (w *Wheel) Next() (due int64, ok bool) {
	var next int64
	for level := range w.rings {
		used := w.rings[level].used
		if used == 0 {
			continue
		}
		shift := uint(level * wheelBits)
		from := w.current>>shift + 1
		first := int(uint64(from) % wheelSlots)
		start := (from + int64(bits.TrailingZeros64(bits.RotateLeft64(used, -first)))) << shift
		if !ok || start < next {
			next, ok = start, true
		}
	}
	return next * w.tick, ok
}

// dueTick is the tick at which a due time has passed.
func (w *Wheel) dueTick(due int64) int64 {
	tick := due / w.tick
	if due%w.tick > 0 {
		tick++
	}
	return tick
}

// start is the tick at which the slot of a linked timer comes up.
func (w *Wheel) start(place uint16) int64 {
	index := int64(place - placeRing)
	shift := uint(index / wheelSlots * wheelBits)
	from := w.current>>shift + 1
	ahead := (index - from) & (wheelSlots - 1)
	return (from + ahead) << shift
}

// link puts the timer into the slot of its due. The ring is the lowest one that reaches so far: on each ring the slots
// of all timers lie 1 to 64 ahead of the current one, so that a slot's number is unambiguous.
func (w *Wheel) link(t *Timer) {
	at := min(max(w.dueTick(t.due), w.current+1), w.current+wheelSpan-1)
	level := (bits.Len64(uint64(at-w.current)) - 1) / wheelBits
	slot := int(uint64(at>>uint(level*wheelBits)) % wheelSlots)
	r := &w.rings[level]
	t.place = uint16(placeRing + level*wheelSlots + slot)
	t.prev, t.next = nil, r.slots[slot]
	if t.next != nil {
		t.next.prev = t
	}
	r.slots[slot] = t
	r.used |= 1 << uint(slot)
}

// unlink takes the timer out of whichever list it is in.
func (w *Wheel) unlink(t *Timer) {
	if t.place == placeNone {
		return
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	switch {
	case t.prev != nil:
		t.prev.next = t.next
	case t.place == placeExpired:
		w.expired = t.next
	default:
		index := int(t.place - placeRing)
		r, slot := &w.rings[index/wheelSlots], index%wheelSlots
		r.slots[slot] = t.next
		if t.next == nil {
			r.used &^= 1 << uint(slot)
		}
	}
	t.next, t.prev, t.place = nil, nil, placeNone
}
