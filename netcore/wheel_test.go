package netcore

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const testTick = 10 // nanoseconds

func TestWheelFires(t *testing.T) {
	for _, delay := range []int64{1, 9, 10, 11, 630, 640, 641, 40950, 40960, 41000, 1e6, 1e9, 1e12} {
		w := NewWheel(testTick, 12345)
		var timer Timer
		w.Schedule(&timer, 12345+delay)
		if !timer.Armed() || timer.Due() != 12345+delay {
			t.Fatalf("delay %d: not armed", delay)
		}
		fired := 0
		fire := func(got *Timer) {
			if got != &timer || got.Armed() {
				t.Errorf("delay %d: another or an armed timer", delay)
			}
			fired++
		}
		w.Advance(12345+delay-1, fire)
		if fired != 0 {
			t.Errorf("delay %d: early", delay)
		}
		w.Advance(12345+delay+testTick, fire)
		w.Advance(12345+2*delay+testTick, fire)
		if fired != 1 {
			t.Errorf("delay %d: fired %d times", delay, fired)
		}
		if _, ok := w.Next(); ok {
			t.Errorf("delay %d: Next after the last timer", delay)
		}
	}
}

// TestWheelFollowsNext: a loop that sleeps until Next reaches a timer in a few turns, however far it is.
func TestWheelFollowsNext(t *testing.T) {
	for _, delay := range []int64{0, 10, 700, 50000, 1e9, 1e13, math.MaxInt64 / 2} {
		w := NewWheel(testTick, 0)
		var timer Timer
		w.Schedule(&timer, delay)
		fired, now := false, int64(0)
		for turn := 0; !fired; turn++ {
			next, ok := w.Next()
			if !ok || next <= now {
				t.Fatalf("delay %d, turn %d: next %d after %d, %v", delay, turn, next, now, ok)
			}
			if turn > wheelLevels && delay < wheelSpan*testTick {
				t.Fatalf("delay %d: %d turns", delay, turn)
			}
			if delay > wheelSpan*testTick && turn > 3 {
				break // beyond the wheel: a turn per revolution
			}
			now = next
			w.Advance(now, func(*Timer) { fired = true })
		}
		if fired && (now < delay || now > delay+2*testTick) {
			t.Errorf("delay %d: fired at %d", delay, now)
		}
	}
}

func TestWheelBeyondItsSpan(t *testing.T) {
	const tick = 1
	w := NewWheel(tick, 0)
	var timer Timer
	due := 5*wheelSpan + 17
	w.Schedule(&timer, due)
	fired := 0
	for now := int64(0); now < due; now += wheelSpan / 2 {
		w.Advance(now, func(*Timer) { t.Fatalf("early, at %d", now) })
	}
	w.Advance(due, func(*Timer) { fired++ })
	if fired != 1 {
		t.Errorf("fired %d times", fired)
	}
	w.Schedule(&timer, math.MaxInt64)
	w.Advance(math.MaxInt64/2, func(*Timer) { t.Error("early") })
	if !timer.Armed() {
		t.Error("lost")
	}
}

// TestWheelIsLazy: a deadline that moves away leaves its timer in its slot; one that comes nearer is linked anew.
func TestWheelIsLazy(t *testing.T) {
	w := NewWheel(testTick, 0)
	var timer Timer
	w.Schedule(&timer, 500)
	place := timer.place
	for due := int64(600); due < 1e6; due += 1000 {
		w.Schedule(&timer, due)
		if timer.place != place {
			t.Fatalf("moved to %d, and linked anew", due)
		}
	}
	w.Schedule(&timer, 700) // nearer than the last due, but not than its slot
	if timer.place != place {
		t.Error("linked anew although the slot comes up in time")
	}
	w.Advance(500, func(*Timer) { t.Error("fired by its slot, not by its due") })
	if timer.place == place || !timer.Armed() {
		t.Error("not linked anew when the slot came up")
	}
	w.Schedule(&timer, 600)
	fired := 0
	w.Advance(599, func(*Timer) { fired++ })
	if fired != 0 {
		t.Error("early")
	}
	w.Advance(600, func(*Timer) { fired++ })
	if fired != 1 {
		t.Errorf("fired %d times", fired)
	}
}

func TestWheelCancel(t *testing.T) {
	w := NewWheel(testTick, 0)
	timers := make([]Timer, 5)
	w.Cancel(&timers[0])
	for i := range timers {
		w.Schedule(&timers[i], 100)
	}
	for _, i := range []int{2, 4, 0, 0} { // middle, head or tail, the other, again
		w.Cancel(&timers[i])
	}
	var fired []int
	w.Advance(200, func(got *Timer) {
		for i := range timers {
			if got == &timers[i] {
				fired = append(fired, i)
			}
		}
	})
	slices.Sort(fired)
	if !slices.Equal(fired, []int{1, 3}) {
		t.Errorf("fired %v", fired)
	}
}

// TestWheelInsideFire: fire may cancel and move timers that are due in the same Advance, and arm its own.
func TestWheelInsideFire(t *testing.T) {
	w := NewWheel(testTick, 0)
	timers := make([]Timer, 4)
	for i := range timers {
		w.Schedule(&timers[i], 100)
	}
	count := 0
	w.Advance(1000, func(got *Timer) {
		count++
		for i := range timers {
			if &timers[i] != got {
				w.Cancel(&timers[i])
			}
		}
		w.Schedule(got, 0) // in the past: the next tick, not this Advance
	})
	if count != 1 {
		t.Errorf("%d fired, want the first only", count)
	}
	w.Advance(1010, func(got *Timer) {
		count++
		w.Schedule(&timers[0], 5)
		w.Schedule(&timers[1], 2000)
		w.Schedule(&timers[1], 5)
	})
	if count != 2 {
		t.Errorf("%d fired, want 2", count)
	}
	w.Advance(1020, func(*Timer) { count++ })
	if count != 4 {
		t.Errorf("%d fired, want 4", count)
	}
}

func TestWheelTimeStandsStill(t *testing.T) {
	w := NewWheel(testTick, 1000)
	var timer Timer
	w.Schedule(&timer, 500)
	for _, now := range []int64{1000, 1005, 900, 0} {
		w.Advance(now, func(*Timer) { t.Errorf("fired at %d", now) })
	}
	fired := 0
	w.Advance(1010, func(*Timer) { fired++ })
	if fired != 1 {
		t.Errorf("fired %d times", fired)
	}
}

func TestWheelPanics(t *testing.T) {
	w := NewWheel(testTick, 0)
	var timer Timer
	w.Schedule(&timer, 1)
	for name, f := range map[string]func(){
		"tick 0":         func() { NewWheel(0, 0) },
		"a negative now": func() { NewWheel(1, -1) },
		"nested Advance": func() { w.Advance(100, func(*Timer) { w.Advance(200, nil) }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// model is a wheel without a wheel: for each timer the tick at which it fires, 0 when it is not armed.
type model struct {
	tick, current int64
	due           []int64
	fires         []int64
}

func (m *model) schedule(i int, due int64) {
	tick := due / m.tick
	if due%m.tick > 0 {
		tick++
	}
	m.due[i], m.fires[i] = due, max(tick, m.current+1)
}

// playWheel runs the operations on a wheel and on the model and compares them. An operation is a kind with a timer, and
// a number of nanoseconds.
func playWheel(t *testing.T, tick, start int64, ops []wheelOp) {
	t.Helper()
	const timers = 8
	var armed [timers]Timer
	w, now := NewWheel(tick, start), start
	m := model{tick: tick, current: start / tick, due: make([]int64, timers), fires: make([]int64, timers)}
	schedule := func(i int, due int64) { w.Schedule(&armed[i], due); m.schedule(i, due) }
	cancel := func(i int) { w.Cancel(&armed[i]); m.fires[i] = 0 }
	for i := range armed {
		armed[i].Key = uint64(i)
	}
	for step, op := range ops {
		i := int(op.kind>>4) % timers
		switch op.kind & 7 {
		case 0, 1, 2:
			schedule(i, now+op.ns)
		case 3:
			schedule(i, max(0, now-op.ns))
		case 4:
			cancel(i)
		default:
			now += min(op.ns, math.MaxInt64/4-now)
			before := m.current
			m.current = max(m.current, now/tick)
			w.Advance(now, func(got *Timer) {
				k := int(got.Key)
				if m.fires[k] == 0 || m.fires[k] > m.current {
					t.Fatalf("step %d, now %d: timer %d fires, due %d, in tick %d of %d", step, now, k, m.due[k], m.fires[k], m.current)
				}
				m.fires[k] = 0
				// What fire does depends on the timer.
				switch k {
				case 1:
					schedule(k, now+op.ns/2)
				case 2:
					cancel((i + 1) % timers)
				case 3:
					schedule((i+2)%timers, now+tick+op.ns)
				case 4:
					schedule(k, 0)
				}
			})
			if m.current == before {
				break
			}
			for k, tick := range m.fires {
				if tick != 0 && tick <= m.current {
					t.Fatalf("step %d, now %d: timer %d has not fired, due %d, in tick %d of %d", step, now, k, m.due[k], tick, m.current)
				}
			}
		}
		earliest := int64(math.MaxInt64)
		for k, tick := range m.fires {
			if (tick != 0) != armed[k].Armed() {
				t.Fatalf("step %d: timer %d: armed %v, tick %d", step, k, armed[k].Armed(), tick)
			}
			if tick != 0 {
				earliest = min(earliest, tick)
			}
		}
		next, ok := w.Next()
		if ok != (earliest != math.MaxInt64) {
			t.Fatalf("step %d: Next %v, earliest tick %d", step, ok, earliest)
		}
		if ok && (next/tick > earliest || next/tick <= m.current) {
			t.Fatalf("step %d: Next %d, earliest tick %d, now in tick %d", step, next, earliest, m.current)
		}
	}
}

type wheelOp struct {
	kind byte
	ns   int64
}

func TestWheelAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		ops := make([]wheelOp, 300)
		for i := range ops {
			// Times of every magnitude, for each ring has its own.
			ops[i] = wheelOp{byte(random.Uint32()), random.Int64N(1 << (1 + random.IntN(50)))}
		}
		playWheel(t, 1+random.Int64N(1<<random.IntN(20)), random.Int64N(1<<40), ops)
	}
}

// FuzzWheel plays operations of three bytes: kind and timer, mantissa, exponent of the nanoseconds.
func FuzzWheel(f *testing.F) {
	f.Add(uint16(10), uint32(0), []byte{0x00, 10, 3, 0x10, 200, 9, 0x05, 60, 4, 0x05, 255, 12})
	f.Add(uint16(1), uint32(4095), []byte{0x20, 255, 30, 0x05, 1, 40, 0x24, 0, 0, 0x05, 1, 45})
	f.Fuzz(func(t *testing.T, tick uint16, start uint32, program []byte) {
		var ops []wheelOp
		for len(program) >= 3 && len(ops) < 500 {
			ops = append(ops, wheelOp{program[0], int64(program[1]) << (program[2] % 48)})
			program = program[3:]
		}
		playWheel(t, int64(tick)+1, int64(start), ops)
	})
}

// TestWheelLongGap: an Advance over a day with a tick of a millisecond does not walk 86 million ticks.
func TestWheelLongGap(t *testing.T) {
	w := NewWheel(int64(time.Millisecond), 0)
	timers := make([]Timer, 1000)
	for i := range timers {
		w.Schedule(&timers[i], int64(i)*int64(time.Minute))
	}
	fired := 0
	start := time.Now()
	for day := range int64(1000) {
		w.Advance((day+1)*int64(24*time.Hour), func(*Timer) { fired++ })
	}
	if fired != len(timers) {
		t.Errorf("%d fired", fired)
	}
	if took := time.Since(start); took > patienceForGaps {
		t.Errorf("1000 days took %v", took)
	}
}

// patienceForGaps is hundreds of times what the wheel needs, and far less than a walk by ticks would.
const patienceForGaps = 5 * time.Second

func TestWheelAllocatesNothing(t *testing.T) {
	w := NewWheel(testTick, 0)
	timers := make([]Timer, 64)
	now := int64(0)
	fire := func(timer *Timer) { w.Schedule(timer, now+5000) }
	if n := testing.AllocsPerRun(100, func() {
		for i := range timers {
			w.Schedule(&timers[i], now+int64(i)*37)
		}
		w.Cancel(&timers[3])
		now += 700
		w.Advance(now, fire)
		w.Next()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWheel(b *testing.B) {
	const connections = 1 << 14
	timers := make([]Timer, connections)
	b.Run("Schedule later", func(b *testing.B) {
		w := NewWheel(int64(10*time.Millisecond), 0)
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			w.Schedule(&timers[i%connections], int64(time.Minute)+i)
		}
		for i := range timers {
			w.Cancel(&timers[i])
		}
	})
	b.Run("Schedule earlier and Cancel", func(b *testing.B) {
		w := NewWheel(int64(10*time.Millisecond), 0)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			timer := &timers[i%connections]
			w.Schedule(timer, int64(time.Minute))
			w.Schedule(timer, int64(time.Second))
			w.Cancel(timer)
		}
	})
	b.Run("Advance a tick", func(b *testing.B) {
		w := NewWheel(int64(10*time.Millisecond), 0)
		now := int64(0)
		fire := func(t *Timer) { w.Schedule(t, now+int64(time.Minute)) }
		for i := range timers {
			w.Schedule(&timers[i], int64(i)*int64(time.Minute)/connections)
		}
		b.ReportAllocs()
		for b.Loop() {
			now += int64(10 * time.Millisecond)
			w.Advance(now, fire)
		}
	})
	b.Run("Next", func(b *testing.B) {
		w := NewWheel(int64(10*time.Millisecond), 0)
		w.Schedule(&Timer{}, int64(time.Hour))
		for b.Loop() {
			w.Next()
		}
	})
}
