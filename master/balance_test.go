package master

import (
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore/control"
)

func TestEvenOut(t *testing.T) {
	for _, c := range []struct {
		loads       []int
		share, most int
		want        []move
	}{
		{nil, 2, 100, nil},
		{[]int{50}, 2, 100, nil},
		{[]int{0, 0}, 2, 100, nil},
		{[]int{10, 0}, 2, 100, []move{{0, 1, 5}}},
		{[]int{0, 11}, 2, 100, []move{{1, 0, 5}}},
		{[]int{2, 0}, 2, 100, nil}, // one more than the mean is even
		{[]int{3, 0}, 2, 100, nil},
		{[]int{4, 0}, 2, 100, []move{{0, 1, 2}}},
		{[]int{6, 3, 3, 3}, 2, 100, []move{{0, 2, 1}, {0, 1, 1}}},
		{[]int{110, 90}, 10, 100, nil}, // just within the share
		{[]int{111, 89}, 10, 100, []move{{0, 1, 11}}},
		{[]int{300, 0, 0}, 10, 1000, []move{{0, 2, 100}, {0, 1, 100}}},
		{[]int{300, 300, 0, 0}, 10, 1000, []move{{0, 3, 150}, {1, 2, 150}}},
		{[]int{600, 100, 50, 50}, 10, 64, []move{{0, 3, 64}}},                           // so many a child gives
		{[]int{500, 500, 500, 0}, 10, 100, []move{{0, 3, 100}}},                         // and gets
		{[]int{400, 105, 0, 95}, 10, 1000, []move{{0, 2, 150}, {0, 3, 55}, {0, 1, 45}}}, // everybody below the mean takes
		{[]int{1 << 31, 0}, 10, 1 << 40, []move{{0, 1, 1 << 30}}},
	} {
		if got := evenOut(c.loads, c.share, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%v within %d %%, %d at most: %v, want %v", c.loads, c.share, c.most, got, c.want)
		}
	}
}

func TestUneven(t *testing.T) {
	for _, c := range []struct {
		loads []int
		want  bool
	}{
		{nil, false},
		{[]int{1000}, false},
		{[]int{0, 0, 0}, false},
		{[]int{64, 0}, false}, // 32 more than the mean
		{[]int{65, 0}, true},
		{[]int{125, 75}, false},
		{[]int{1250, 750}, false}, // a quarter more
		{[]int{1251, 749}, true},
		{[]int{133, 133, 133, 0}, true},
		{[]int{110, 110, 110, 110, 110, 0}, false}, // the busiest has little more than its share
	} {
		if got := uneven(c.loads); got != c.want {
			t.Errorf("%v: %v", c.loads, got)
		}
	}
}

// Whatever part of the moves happens, nothing is worse than before; and when all happen it is even after a while.
func TestEvenOutNeverMakesItWorse(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		loads := make([]int, 2+r.IntN(20))
		for i := range loads {
			loads[i] = r.IntN([]int{5, 100, 100_000}[r.IntN(3)])
		}
		share, most := []int{0, operatorShare, endShare}[r.IntN(3)], 1+r.IntN([]int{3, 300, 100_000}[r.IntN(3)])
		most = max(most, slices.Max(loads)/200) // so that the rounds come to an end in the time of a test
		total := sumOf(loads)
		for partial := 3; ; partial-- {
			before := slices.Clone(loads)
			moves := evenOut(loads, share, most)
			pairs, gives, gets := map[[2]int]bool{}, map[int]int{}, map[int]int{}
			for _, m := range moves {
				if pairs[[2]int{m.from, m.to}] || m.count < 1 || gets[m.from] > 0 || gives[m.to] > 0 {
					t.Fatalf("seed %d: %v of %v: %v", seed, m, before, moves)
				}
				pairs[[2]int{m.from, m.to}] = true
				gives[m.from] += m.count
				gets[m.to] += m.count
				if gives[m.from] > most || gets[m.to] > most {
					t.Fatalf("seed %d: more than %d: %v", seed, most, moves)
				}
				count := m.count
				if partial > 0 { // requests are under way on the others
					count = r.IntN(count + 1)
				}
				loads[m.from] -= count
				loads[m.to] += count
			}
			if slices.Max(loads) > slices.Max(before) || slices.Min(loads) < slices.Min(before) || sumOf(loads) != total {
				t.Fatalf("seed %d: %v became %v", seed, before, loads)
			}
			if len(moves) == 0 {
				break
			}
			if partial < 0 && slices.Equal(before, loads) {
				t.Fatalf("seed %d: no end at %v", seed, loads)
			}
		}
		mean := total / len(loads)
		if most := slices.Max(loads); most > mean+1+max(1, mean*share/100) {
			t.Fatalf("seed %d: %v is even within %d %%", seed, loads, share)
		}
	}
}

// loaded is a fleet that serves, with so many connections each.
func loaded(t *testing.T, loads ...int64) *fleet {
	t.Helper()
	f := servingFleet(t, len(loads)).withRuntime()
	for i, n := range loads {
		f.has(f.started[i], n)
	}
	return f
}

// report lets all children bring their numbers up to date.
func (f *fleet) report() {
	for _, c := range f.started {
		if c.state == Serving {
			f.says(c, &control.Reported{})
		}
	}
}

// gave lets a child answer its last Give with so many connections, -1: all; taker has them.
func (f *fleet) gave(c, taker *child, count int, broken string) {
	f.t.Helper()
	orders := sentOf[*control.Give](c)
	if len(orders) == 0 {
		f.t.Fatalf("child %d was not told to give", c.slot.index)
	}
	order := orders[len(orders)-1]
	if count < 0 {
		count = order.Count
	}
	f.has(c, int64(c.load()-count))
	f.has(taker, int64(taker.load()+count))
	f.says(c, &control.Gave{ID: order.ID, Count: count, Broken: broken})
}

// outcomes collects what runs end with.
type outcomes struct {
	all  []Balance
	errs []error
}

func (o *outcomes) take(b Balance, err error) { o.all, o.errs = append(o.all, b), append(o.errs, err) }

func TestBalance(t *testing.T) {
	f := loaded(t, 3100, 0, 200)
	var o outcomes
	f.balance("test", o.take)
	f.tick()
	if n := len(sentOf[*control.Give](f.started[0])); n != 0 {
		t.Fatal("it gives before the numbers are known")
	}
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	// Two at once, each on a channel of its own, and not more in a round than is allowed.
	gives := sentOf[*control.Give](f.started[0])
	if len(gives) != 2 || gives[0].Count != 1100 || gives[1].Count != 900 || gives[0].ID == gives[1].ID {
		t.Fatalf("%+v", gives)
	}
	for i, want := range []int{1, 2} {
		takers := f.takersOn(proc(f.started[0]).gives[i])
		if !slices.Equal(gives[i].Listeners, []uint32{f.shards.listeners[0].id}) || !slices.Equal(takers, []int{want}) {
			t.Errorf("give %d: %+v to lives %v", i, gives[i], takers)
		}
	}
	f.balance("another", o.take) // shares the outcome
	f.gave(f.started[0], f.started[2], 900, "")
	if f.balancer.run.step != giving {
		t.Fatal("it goes on before all have answered")
	}
	f.has(f.started[0], 1200)
	f.has(f.started[1], 1000)
	f.says(f.started[0], &control.Gave{ID: gives[0].ID, Count: 1000}) // on 100 a request was under way
	f.clock = f.clock.Add(time.Second)
	f.report()
	f.gave(f.started[0], f.started[1], -1, "")
	f.clock = f.clock.Add(time.Second)
	f.report()
	if len(o.all) != 2 || o.errs[0] != nil {
		t.Fatalf("%+v %v", o.all, o.errs)
	}
	got := o.all[1]
	before, after := []int{3100, 0, 200}, []int{1100, 1100, 1100}
	if got.Moved != 2000 || !slices.Equal(got.Before, before) || !slices.Equal(got.After, after) || got.By != "test" {
		t.Errorf("%+v", got)
	}
}

func TestBalanceOfEvenChildren(t *testing.T) {
	f := loaded(t, 100, 99)
	var o outcomes
	f.balance("test", o.take)
	f.tick()
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	if len(o.all) != 1 || o.errs[0] != nil || o.all[0].Moved != 0 || o.all[0].Reason != "" || !slices.Equal(o.all[0].After, []int{100, 99}) {
		t.Fatalf("%+v %v", o.all, o.errs)
	}
	if len(f.eventsOf(EventBalanced)) != 0 {
		t.Error("an event of nothing")
	}
}

// A run ends in bounded time, whatever children do, and says why it is not even.
func TestBalanceThatDoesNotSucceed(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		moved        int
		do           func(*fleet)
	}{
		{"no answer", "child 0 has not answered within", 0, func(f *fleet) { f.after(f.bounds.answer) }},
		{"giver dies", "child 0 has ended", 0, func(f *fleet) { f.dies(f.started[0], syscall.WaitStatus(syscall.SIGKILL)) }},
		{"taker dies", "child 0: end of the channel", 0, func(f *fleet) {
			f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL))
			f.gave(f.started[0], f.started[2], 0, "end of the channel")
		}},
		{"nothing idle", "requests are under way", 0, func(f *fleet) { f.gave(f.started[0], f.started[1], 0, "") }},
		{"some, then nothing", "requests are under way", 5, func(f *fleet) {
			f.gave(f.started[0], f.started[1], 5, "")
			f.clock = f.clock.Add(time.Millisecond)
			f.report()
			f.gave(f.started[0], f.started[1], 0, "")
		}},
		{"numbers are late", "requests are under way", 5, func(f *fleet) {
			f.gave(f.started[0], f.started[1], 5, "")
			f.after(f.bounds.numbers)
			f.gave(f.started[0], f.started[1], 0, "")
		}},
		{"no end of new ones", "clients bring new connections", 100, func(f *fleet) {
			f.clock = f.clock.Add(time.Millisecond) // the numbers of the last round are not those of this one
			f.gave(f.started[0], f.started[1], 100, "")
			f.has(f.started[0], 1000)
			f.after(operatorBound)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := loaded(t, 300, 0, 150)
			var o outcomes
			f.balance("test", o.take)
			f.tick()
			f.clock = f.clock.Add(time.Millisecond)
			f.report()
			if n := len(sentOf[*control.Give](f.started[0])); n != 1 {
				t.Fatalf("told to give %d times", n)
			}
			c.do(f)
			if len(o.all) != 1 || o.errs[0] != nil || !strings.Contains(o.all[0].Reason, c.reason) || o.all[0].Moved != c.moved {
				t.Fatalf("%+v %v", o.all, o.errs)
			}
			gives := sentOf[*control.Give](f.started[0])
			f.says(f.started[0], &control.Gave{ID: gives[len(gives)-1].ID, Count: 5}) // late
			if f.balancer.run != nil {
				t.Error("it goes on")
			}
		})
	}
}

func TestBalanceRefuses(t *testing.T) {
	f := newFleet(t, 2)
	var o outcomes
	f.balance("test", o.take)
	f = loaded(t, 300, 0)
	f.onSignal(syscall.SIGTERM)
	f.balance("test", o.take)
	f = loaded(t, 300)
	f.o.Host = func(int, *control.Conn) int { return 0 }
	f.balance("test", o.take)
	for i, want := range []string{"the server is starting", "the server is stopping", "single process"} {
		if i >= len(o.errs) || o.errs[i] == nil || !strings.Contains(o.errs[i].Error(), want) {
			t.Errorf("%v, want %s", o.errs, want)
		}
	}
}

func TestStopEndsABalance(t *testing.T) {
	f := loaded(t, 300, 0)
	var o outcomes
	f.balance("test", o.take)
	f.tick()
	f.onSignal(syscall.SIGTERM)
	if len(o.errs) != 1 || o.errs[0] == nil {
		t.Fatalf("%v", o.errs)
	}
	f.report()
	if heard(f.started[0], control.KindGive) != 0 {
		t.Error("it goes on")
	}
}

// Children that leave, stand still, or are about to be replaced take no part.
func TestBalanceLeavesOut(t *testing.T) {
	f := loaded(t, 1000, 0, 0, 0, 100)
	f.started[1].sameBeats = standLooks
	f.started[2].misfit = "as told"
	f.restart(3, "test", nil)
	f.tick()
	f.balance("test", nil)
	f.tick()
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	gives := sentOf[*control.Give](f.started[0])
	if len(gives) != 1 || gives[0].Count != 450 || !slices.Equal(f.takersOn(proc(f.started[0]).gives[0]), []int{4}) {
		t.Fatalf("%+v", gives)
	}
	for _, c := range f.started[1:4] {
		if heard(c, control.KindReport) != 0 || heard(c, control.KindTake) != 0 {
			t.Errorf("child %d takes part", c.slot.index)
		}
	}
}

// By itself a run begins late, moves a bounded number each second, and ends early.
func TestBalanceByItself(t *testing.T) {
	f := loaded(t, 2500, 0)
	f.config.Balance = true
	f.after(lookEvery)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	began := f.clock
	for round := 1; f.balancer.run != nil; round++ {
		if n := heard(f.started[0], control.KindGive); n != round {
			t.Fatalf("after %v told to give %d times", f.clock.Sub(began), n)
		}
		if got := sentOf[*control.Give](f.started[0])[round-1].Count; got > roundCount {
			t.Fatalf("%d at once", got)
		}
		f.gave(f.started[0], f.started[1], -1, "")
		f.after(roundEvery - 2*time.Millisecond)
		if heard(f.started[0], control.KindReport) != round {
			t.Fatal("the next round is too early")
		}
		f.after(time.Millisecond)
		f.clock = f.clock.Add(time.Millisecond)
		f.report()
	}
	if a, b := f.started[0].load(), f.started[1].load(); a > 1375 || a+b != 2500 {
		t.Fatalf("%d and %d", a, b)
	}
	if took := f.clock.Sub(began); took < 4*roundEvery || took > 6*roundEvery {
		t.Errorf("it took %v", took)
	}
	if got := f.eventsOf(EventBalanced); len(got) != 1 || !strings.Contains(got[0], "by the server itself: 2,500, 0 became ") {
		t.Errorf("%q", got)
	}
	// Within the hysteresis nothing happens.
	n := heard(f.started[0], control.KindReport)
	f.has(f.started[0], 1500)
	f.has(f.started[1], 1300)
	f.after(time.Minute)
	if heard(f.started[0], control.KindReport) != n {
		t.Error("a small difference is no reason")
	}
}

// By itself nothing moves while something else is under way.
func TestBalanceByItselfWaits(t *testing.T) {
	for name, busy := range map[string]func(*fleet){
		"off":       func(f *fleet) { f.config.Balance = false },
		"reload":    func(f *fleet) { f.reloading = &reloading{due: f.clock.Add(time.Hour), lost: map[*slot]bool{}} },
		"restart":   func(f *fleet) { f.restart(1, "test", nil) },
		"fewer":     func(f *fleet) { f.scale(2, "test", nil) },
		"more":      func(f *fleet) { f.scale(4, "test", nil) },
		"a death":   func(f *fleet) { f.dies(f.started[1], syscall.WaitStatus(syscall.SIGKILL)) },
		"one alone": func(f *fleet) { f.started[1].sameBeats, f.started[2].sameBeats = standLooks, standLooks },
	} {
		t.Run(name, func(t *testing.T) {
			f := loaded(t, 3000, 0, 0)
			f.config.Balance = true
			f.after(lookEvery - time.Second)
			busy(f)
			f.tick()
			f.after(time.Second)
			if f.balancer.run != nil || heard(f.started[0], control.KindReport) != 0 {
				t.Error("a run has begun")
			}
		})
	}
	f := loaded(t, 3000, 0, 0)
	f.config.Balance = true
	f.after(lookEvery)
	if heard(f.started[0], control.KindReport) != 1 {
		t.Fatal("no run has begun, and nothing hinders it")
	}
	f.restart(1, "test", nil)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	if heard(f.started[0], control.KindGive) != 0 || f.balancer.run != nil {
		t.Error("it goes on beside a restart")
	}
}

// A successor gets its connections from the child before it: how many those are is not known at once.
func TestBalanceByItselfWaitsForWhatIsHandedOver(t *testing.T) {
	f := loaded(t, 200, 200)
	f.config.Balance = true
	f.after(lookEvery)
	_, heir := f.restarted(0)
	f.has(heir, 0)
	f.after(lookEvery - time.Millisecond)
	if heard(f.started[1], control.KindReport) != 0 {
		t.Fatal("a run has begun")
	}
	f.has(heir, 200)
	f.after(lookEvery)
	if heard(f.started[1], control.KindReport) != 0 {
		t.Fatal("a run has begun though all is even")
	}
}

// What cannot be moved is not tried again at once.
func TestBalanceByItselfRests(t *testing.T) {
	f := loaded(t, 300, 0)
	f.config.Balance = true
	f.after(lookEvery)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	f.gave(f.started[0], f.started[1], 0, "")
	f.after(restAfter - time.Second)
	if heard(f.started[0], control.KindReport) != 1 {
		t.Fatal("tried again too early")
	}
	f.after(time.Second)
	if heard(f.started[0], control.KindReport) != 2 {
		t.Fatal("not tried again")
	}
	// The operator may ask at any time, and gets an outcome of the run that goes on.
	var o outcomes
	f.balance("test", o.take)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	f.gave(f.started[0], f.started[1], -1, "")
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	if len(o.all) != 1 || o.all[0].By != "test" || o.all[0].Moved != 150 || !slices.Equal(o.all[0].Before, []int{300, 0}) {
		t.Errorf("%+v %v", o.all, o.errs)
	}
}

// The operator's run takes over from one that rests between two rounds.
func TestBalanceTakesARunOver(t *testing.T) {
	f := loaded(t, 2000, 0)
	f.config.Balance = true
	f.after(lookEvery)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	f.gave(f.started[0], f.started[1], -1, "")
	if f.balancer.run == nil || f.balancer.run.step != resting {
		t.Fatal("it does not rest")
	}
	var o outcomes
	f.balance("test", o.take)
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	f.gave(f.started[0], f.started[1], -1, "")
	f.clock = f.clock.Add(time.Millisecond)
	f.report()
	if len(o.all) != 1 || o.all[0].Moved != 1000-roundCount || !slices.Equal(o.all[0].Before, []int{2000 - roundCount, roundCount}) {
		t.Errorf("%+v %v", o.all, o.errs)
	}
}

func TestCountList(t *testing.T) {
	many := countList(make([]int, 100))
	if got := countList([]int{1200, 5}); got != "1,200, 5" || len(many) > 60 {
		t.Errorf("%q, %q", got, many)
	}
}
