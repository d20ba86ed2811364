package master

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/board"
)

var someGates = configs.Upgrade{MinRequests: 50, ErrorPercent: 1, LatencyFactor: 3, LatencyFloor: 50 * time.Millisecond}

// ran is what children have counted that have finished requests, some of them with a server error, in times that take gives.
func ran(requests, errors int, take func(i int) time.Duration) *board.Sums {
	l := board.NewLife()
	l.Set(board.WordFinished, int64(requests))
	l.Set(board.WordServerErrors, int64(errors))
	for i := range requests {
		l.Took(take(i).Microseconds())
	}
	return l.Sums()
}

// on is what they have counted when that came by so many accepted connections.
func on(connections int, s *board.Sums) *board.Sums {
	l := board.NewLife()
	l.Set(board.WordAccepted, int64(connections))
	all := l.Sums()
	all.Merge(s)
	return all
}

// against is a trial beside an old version that has served no longer than the new one.
func against(candidate, baseline *board.Sums) *trial {
	return &trial{candidate: candidate, since: baseline, ever: baseline}
}

// always is a time that every request takes.
func always(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

// mostly is one that all but every nth request take, which take long.
func mostly(d time.Duration, nth int, long time.Duration) func(int) time.Duration {
	return func(i int) time.Duration {
		if i%nth == 0 {
			return long
		}
		return d
	}
}

func TestGates(t *testing.T) {
	const ms = time.Millisecond
	quick := always(ms)
	with := func(change func(*configs.Upgrade)) configs.Upgrade {
		g := someGates
		change(&g)
		return g
	}
	for name, c := range map[string]struct {
		limits              configs.Upgrade
		candidate, baseline *board.Sums
		fault               string // a part of it; "": none
	}{
		"nothing was asked of either":        {someGates, ran(0, 0, quick), ran(0, 0, quick), ""},
		"nothing of the new one":             {someGates, ran(0, 0, quick), ran(1000, 3, quick), ""},
		"both are well":                      {someGates, ran(1000, 0, quick), ran(1000, 0, quick), ""},
		"both are equally ill":               {someGates, ran(1000, 300, quick), ran(1000, 300, quick), ""},
		"the new one is better":              {someGates, ran(1000, 0, quick), ran(1000, 300, always(9*ms)), ""},
		"every answer is an error":           {someGates, ran(60, 60, quick), ran(60, 0, quick), "answered 60 of 60 requests with a server error, which is 100 %, beside 0 % of the old one: upgrade.error_percent 1 allows 1 %"},
		"as many as are allowed":             {someGates, ran(1000, 10, quick), ran(1000, 0, quick), ""},
		"more, by chance":                    {someGates, ran(1000, 21, quick), ran(1000, 0, quick), ""},
		"more than chance":                   {someGates, ran(1000, 22, quick), ran(1000, 0, quick), "answered 22 of 1,000 requests with a server error, which is 2.2 %,"},
		"the old one's share counts":         {someGates, ran(1000, 17, quick), ran(1000, 8, quick), ""},
		"four errors of the fewest requests": {someGates, ran(50, 4, quick), ran(1000, 0, quick), ""},
		"five of them":                       {someGates, ran(50, 5, quick), ran(1000, 0, quick), "which is 10 %"},
		"few requests and few errors":        {someGates, ran(49, 4, quick), ran(1000, 0, quick), ""},
		"few requests, enough errors":        {someGates, ran(5, 5, quick), ran(1000, 0, quick), "5 of 5 requests"},
		"few of them, and the old as ill":    {someGates, ran(5, 5, quick), ran(5, 5, quick), ""},
		"errors ahead of the finished":       {someGates, ran(0, 5, quick), ran(1000, 0, quick), "5 of 5 requests"},
		"an old one without requests":        {someGates, ran(100, 50, quick), ran(0, 0, quick), "beside 0 % of the old one"},
		"errors are no fault":                {with(func(g *configs.Upgrade) { g.ErrorPercent = 100 }), ran(1000, 1000, quick), ran(1000, 0, quick), ""},
		"no error more is allowed":           {with(func(g *configs.Upgrade) { g.ErrorPercent = 0 }), ran(1000, 3, quick), ran(1000, 0, quick), "3 of 1,000 requests"},
		"two are chance":                     {with(func(g *configs.Upgrade) { g.ErrorPercent = 0 }), ran(1000, 2, quick), ran(1000, 0, quick), ""},

		"slower by factor and floor":   {someGates, ran(1000, 0, always(900*ms)), ran(1000, 0, always(100*ms)), "99th percentile of latency is 90"},
		"its words":                    {someGates, ran(1000, 0, always(2*time.Second)), ran(1000, 0, always(ms)), `of the old one: upgrade.latency_factor 3 and upgrade.latency_floor "50ms" allow 51 ms`},
		"slower by the factor alone":   {someGates, ran(1000, 0, always(40*ms)), ran(1000, 0, quick), ""},
		"slower by the floor alone":    {someGates, ran(1000, 0, always(250*ms)), ran(1000, 0, always(100*ms)), ""},
		"too few of the new one":       {someGates, ran(49, 0, always(9*time.Second)), ran(1000, 0, quick), ""},
		"too few of the old one":       {someGates, ran(1000, 0, always(9*time.Second)), ran(49, 0, quick), ""},
		"a hundredth is slow":          {someGates, ran(1000, 0, mostly(ms, 100, 9*time.Second)), ran(1000, 0, quick), ""},
		"a thirtieth is slow":          {someGates, ran(1000, 0, mostly(ms, 30, 9*time.Second)), ran(1000, 0, quick), "99th percentile"},
		"five of the fewest are slow":  {someGates, ran(50, 0, mostly(ms, 10, 9*time.Second)), ran(50, 0, quick), ""},
		"six of them are":              {someGates, ran(50, 0, mostly(ms, 9, 9*time.Second)), ran(50, 0, quick), "99th percentile"},
		"errors are told before it":    {someGates, ran(1000, 999, always(9*time.Second)), ran(1000, 0, quick), "server error"},
		"without a floor":              {with(func(g *configs.Upgrade) { g.LatencyFloor = 0 }), ran(1000, 0, always(4*ms)), ran(1000, 0, quick), "99th percentile"},
		"with a factor of 1, the same": {with(func(g *configs.Upgrade) { g.LatencyFactor, g.LatencyFloor = 1, 0 }), ran(1000, 0, quick), ran(1000, 0, quick), ""},
	} {
		got := against(c.candidate, c.baseline).fault(c.limits)
		if (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) {
			t.Errorf("%s: %q, not %q", name, got, c.fault)
		}
	}
}

// Who comes asks for other things than who stays: the old version has few slow requests among the many of the connections that it keeps, and
// of the new ones, which are all that the candidate sees, the same part is slow.
func TestGatesKnowWhoComes(t *testing.T) {
	const ms = time.Millisecond
	quick := always(560 * time.Microsecond)
	slowly := func(nth int) func(int) time.Duration { return mostly(560*time.Microsecond, nth, 986*ms) }
	canary, probation := ran(3500, 0, slowly(234)), ran(10500, 0, slowly(700)) // 700 requests a second, 15 of those of the canary's 5 s are slow
	ever := ran(48_000, 0, slowly(200))                                        // of a minute, with all clients
	failing := ran(48_000, 240, quick)
	for name, c := range map[string]struct {
		t     trial
		fault string
	}{
		"in the canary":              {trial{on(152, ran(152, 0, slowly(25))), on(375, canary), on(6000, ever)}, ""},
		"in the probation":           {trial{on(1040, ran(1040, 0, slowly(25))), on(375, probation), on(6375, ever)}, ""},
		"without a canary":           {trial{on(1040, ran(1040, 0, slowly(25))), on(0, ran(7000, 0, quick)), on(6375, ever)}, ""},
		"more of them":               {trial{on(1040, ran(1040, 0, slowly(10))), on(375, probation), on(6375, ever)}, "99th percentile of latency is"},
		"it is slow":                 {trial{on(152, ran(152, 0, always(986*ms))), on(375, canary), on(6000, ever)}, "99th percentile of latency is"},
		"errors":                     {trial{on(152, ran(152, 6, quick)), on(375, ran(3500, 15, quick)), on(6000, failing)}, ""},
		"in the probation, errors":   {trial{on(1040, ran(1040, 42, quick)), on(375, ran(10_500, 15, quick)), on(6375, failing)}, ""},
		"more errors":                {trial{on(1040, ran(1040, 120, quick)), on(375, ran(10_500, 15, quick)), on(6375, failing)}, "which is 11.54 %, beside 3."},
		"their words":                {trial{on(1040, ran(1040, 120, quick)), on(375, ran(10_500, 15, quick)), on(6375, failing)}, "% of the old one on as many new connections: upgrade.error_percent 1 allows 4."},
		"connections that live long": {trial{on(20, ran(1000, 100, quick)), on(10, ran(5000, 5, quick)), on(100, ran(1_000_000, 1000, quick))}, "which is 10 %"},
		"an ill one, and all fail":   {trial{on(900, ran(1000, 1000, quick)), on(90, ran(9000, 900, quick)), on(900, ran(90_000, 9000, quick))}, "which is 100 %"},
		"next to nothing is known of the old one": {trial{on(1000, ran(1000, 1000, quick)), on(3, ran(3, 1, quick)), on(3, ran(3, 1, quick))}, "which is 100 %"},
		"little in the same time":                 {trial{on(1000, ran(1000, 400, quick)), on(3, ran(3, 1, quick)), on(300, ran(300, 1, quick))}, "which is 40 %"},
		"all of one connection":                   {trial{on(1, ran(5, 5, quick)), on(300, ran(3000, 1, quick)), on(300, ran(3000, 1, quick))}, "5 of 5 requests"},
		"half of one connection":                  {trial{on(1, ran(10, 5, quick)), on(300, ran(3000, 1, quick)), on(300, ran(3000, 1, quick))}, ""},
		"both are as ill, and all fail":           {trial{on(900, ran(1000, 1000, quick)), on(900, ran(1000, 1000, quick)), on(900, ran(1000, 1000, quick))}, ""},
	} {
		if got := c.t.fault(someGates); (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) {
			t.Errorf("%s: %q, not %q", name, got, c.fault)
		}
	}
}

// A load is clients as they are simulated: those that stay on the connections that they have, those that come with one request each, and those
// that come with several. All numbers are of a second, all parts from 0 to 1.
type load struct {
	stay, come, sessions float64
	stayIll, comeIll     demand
	requests             int // of a session
	sessionsIll          demand
	alike                bool    // of a session all requests are ill, or none
	children             float64 // of each version
	before               float64 // seconds that the old version has served
}

// demand is which part of the requests fails and which is slow, by nature.
type demand struct{ fails, slow float64 }

// sickness is what a version adds to that.
type sickness struct{ fails, slow float64 }

func (l *load) String() string { return fmt.Sprintf("%+v", *l) }

// someLoad is one of all kinds, whose clients each ask for at most such a part that fails, or is slow.
func someLoad(random *rand.Rand, most float64) *load {
	scale := func(from, to float64) float64 { return from * math.Pow(to/from, random.Float64()) }
	ill := func() (d demand) {
		if random.IntN(2) == 0 {
			d.fails = scale(0.0001, most)
		}
		if random.IntN(2) == 0 {
			d.slow = scale(0.0001, most)
		}
		return d
	}
	return &load{
		stay: scale(1, 1000), come: scale(1, 300), sessions: scale(0.5, 30), requests: 1 + random.IntN(20), alike: random.IntN(2) == 0,
		stayIll: ill(), comeIll: ill(), sessionsIll: ill(), children: float64(1 + random.IntN(8)), before: scale(2, 300),
	}
}

// upgrade simulates one with the default settings, and says at what second which fault is found.
func (l *load) upgrade(random *rand.Rand, sick sickness) (fault string, at float64) {
	const look, canary, probation = 0.2, 5.0, 10.0
	counts := func(mean float64) (n int) { // of a Poisson distribution
		if mean > 500 {
			return max(0, int(mean+math.Sqrt(mean)*random.NormFloat64()))
		}
		for sum := random.ExpFloat64(); sum < mean; sum += random.ExpFloat64() {
			n++
		}
		return n
	}
	micros := func(d time.Duration) int64 { return int64(float64(d.Microseconds()) * (0.5 + random.Float64())) }
	serve := func(to *version, n int, d demand, sick sickness) {
		for range n {
			to.finished++
			if random.Float64() < d.fails || random.Float64() < sick.fails {
				to.errors++
			}
			switch {
			case random.Float64() < d.slow:
				to.life.Took(micros(500 * time.Millisecond))
			case random.Float64() < sick.slow:
				to.life.Took(micros(200 * time.Millisecond))
			default:
				to.life.Took(micros(time.Millisecond))
			}
		}
	}
	comes := func(to *version, seconds float64, sick sickness) {
		n := counts(l.come * seconds)
		to.accepted += n
		serve(to, n, l.comeIll, sick)
		for range counts(l.sessions * seconds) {
			to.accepted++
			d := l.sessionsIll
			if l.alike {
				for _, part := range [...]*float64{&d.fails, &d.slow} {
					if *part = math.Floor(*part + random.Float64()); *part > 1 {
						*part = 1
					}
				}
			}
			serve(to, l.requests, d, sick)
		}
	}
	older, newer := &version{life: board.NewLife()}, &version{life: board.NewLife()}
	older.accepted = 50
	serve(older, counts(l.stay*l.before), l.stayIll, sickness{})
	comes(older, l.before, sickness{})
	begin := older.sums()
	for now := look; now < canary+probation; now += look {
		share := 1.0
		if now <= canary {
			share = 1 / l.children
		}
		serve(older, counts(l.stay*look), l.stayIll, sickness{})
		comes(older, look*(1-share), sickness{})
		comes(newer, look*share, sick)
		ever := older.sums()
		if fault := (&trial{candidate: newer.sums(), since: ever.Since(begin), ever: ever}).fault(someGates); fault != "" {
			return fault, now
		}
	}
	return "", 0
}

// version is what one has counted.
type version struct {
	life                       *board.Life
	finished, errors, accepted int
}

func (v *version) sums() *board.Sums {
	v.life.Set(board.WordFinished, int64(v.finished))
	v.life.Set(board.WordServerErrors, int64(v.errors))
	v.life.Set(board.WordAccepted, int64(v.accepted))
	return v.life.Sums()
}

// simulates leaves a simulation out under the race detector: one goroutine and its numbers are nothing to watch.
func simulates(t *testing.T) {
	if raceEnabled {
		t.Skip("a simulation on one goroutine, whose result is the same without the race detector")
	}
}

// Two versions that are the same are told apart by chance alone: of many upgrades to the same program under all kinds of load, with errors and
// slow requests of its own, next to none is taken back.
func TestEqualVersionsPass(t *testing.T) {
	simulates(t)
	random := rand.New(rand.NewPCG(5, 6))
	const upgrades = 500
	faults := map[bool]int{}
	var examples []string
	for range upgrades {
		l := someLoad(random, 0.02)
		if fault, at := l.upgrade(random, sickness{}); fault != "" {
			faults[strings.Contains(fault, "latency")]++
			examples = append(examples, fmt.Sprintf("%.1f s: %s\n\t%v", at, fault, l))
		}
	}
	t.Logf("of %d upgrades to the same version %d were taken back for errors and %d for latency", upgrades, faults[false], faults[true])
	for _, e := range examples {
		t.Log(e)
	}
	if faults[false]+faults[true] > upgrades/100 {
		t.Error("these are too many")
	}
}

// So it is where of those who come many more fail, or are slow, than of those who stay.
func TestEqualVersionsPassWhoeverComes(t *testing.T) {
	simulates(t)
	random := rand.New(rand.NewPCG(9, 10))
	for _, children := range []float64{1, 2, 4, 8} {
		const upgrades = 100
		faults := 0
		for range upgrades {
			l := &load{stay: 600, come: 104, comeIll: demand{fails: 0.04, slow: 0.04}, requests: 1, children: children, before: 60}
			if fault, at := l.upgrade(random, sickness{}); fault != "" {
				faults++
				t.Logf("%v children, %.1f s: %s", children, at, fault)
			}
		}
		if faults > upgrades/50 {
			t.Errorf("%v children: of %d upgrades to the same version %d were taken back", children, upgrades, faults)
		}
	}
}

// A version that fails what it is asked for, or takes 200 ms longer for it, is found under any such load, soon if it is all and in nearly all
// upgrades if it is a tenth.
func TestSickVersionsAreFound(t *testing.T) {
	simulates(t)
	const upgrades = 150
	for name, c := range map[string]struct {
		sick    sickness
		found   float64 // of the upgrades, at least
		seconds float64 // until then, on the mean, at most
	}{
		"all fail":          {sickness{fails: 1}, 1, 1.5},
		"all are slow":      {sickness{slow: 1}, 0.95, 4},
		"a tenth fails":     {sickness{fails: 0.1}, 0.9, 6},
		"a tenth is slow":   {sickness{slow: 0.1}, 0.9, 6},
		"a few fail":        {sickness{fails: 0.03}, 0.25, 12},
		"and a few is slow": {sickness{slow: 0.03}, 0.25, 12},
	} {
		random := rand.New(rand.NewPCG(7, 8))
		found, all, seconds := 0.0, 0.0, 0.0
		for all < upgrades {
			l := someLoad(random, 0.005)
			if l.come+l.sessions*float64(l.requests) < 20 { // the gates see little where little is asked for
				continue
			}
			all++
			if fault, at := l.upgrade(random, c.sick); fault != "" {
				found++
				seconds += at
			}
		}
		t.Logf("%s: %.0f of %.0f are found, after %.1f s", name, found, all, seconds/found)
		if found < all*c.found || seconds/found > c.seconds {
			t.Errorf("%s: these are too few, or it takes too long", name)
		}
	}
}

// More errors, or slower requests, never make a version better.
func TestGatesAreMonotonic(t *testing.T) {
	well := ran(1000, 5, always(3*time.Millisecond))
	faulty := false
	for errors := range 1000 {
		now := against(ran(1000, errors, always(time.Millisecond)), well).fault(someGates) != ""
		if faulty && !now {
			t.Fatalf("%d errors of 1000 pass, and fewer do not", errors)
		}
		faulty = now
	}
	if !faulty {
		t.Error("999 errors of 1000 pass")
	}
	faulty = false
	for d := time.Millisecond; d < 20*time.Second; d += d/8 + 1 {
		now := against(ran(100, 0, always(d)), well).fault(someGates) != ""
		if faulty && !now {
			t.Fatalf("%v pass, and shorter times do not", d)
		}
		faulty = now
	}
	if !faulty {
		t.Error("20 s in place of 3 ms pass")
	}
}

// Numbers that no life can have, as a child may write them, are judged without a panic.
func TestGatesTakeAnyNumbers(t *testing.T) {
	wild := func(seed uint64) *board.Sums {
		random := rand.New(rand.NewPCG(seed, 9))
		l := board.NewLife()
		for w := range board.Word(64 + board.Buckets) {
			l.Set(w, int64(random.Uint64()>>random.IntN(64)))
		}
		return l.Sums()
	}
	for seed := range uint64(500) {
		a, b := wild(2*seed), wild(2*seed+1)
		for _, fault := range []string{against(a, b).fault(someGates), against(b.Since(a), a.Since(b)).fault(someGates), (&trial{b, a.Since(b), a}).fault(someGates)} {
			if strings.Contains(fault, "NaN") || strings.Contains(fault, "-") {
				t.Fatal(fault)
			}
		}
		if text := trialText(a); strings.Contains(text, "-") {
			t.Fatal(text)
		}
	}
}

func TestTrialText(t *testing.T) {
	for want, s := range map[string]*board.Sums{
		"0 requests, 0 errors":                 ran(0, 0, nil),
		"1 request, 1 error, p99 17 µs":        ran(1, 1, always(17*time.Microsecond)),
		"1,204 requests, 0 errors, p99 2 ms":   ran(1204, 0, always(2*time.Millisecond)),
		"60 requests, 2 errors, p99 1.5 ms":    ran(60, 2, always(1500*time.Microsecond)),
		"60 requests, 60 errors, p99 200 ms":   ran(60, 60, always(200*time.Millisecond)),
		"12,345 requests, 0 errors, p99 2.3 s": ran(12345, 0, always(2300*time.Millisecond)),
	} {
		if got := trialText(s); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
