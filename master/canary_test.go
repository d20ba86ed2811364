package master

import (
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
		"nothing was asked of either":      {someGates, ran(0, 0, quick), ran(0, 0, quick), ""},
		"nothing of the new one":           {someGates, ran(0, 0, quick), ran(1000, 3, quick), ""},
		"both are well":                    {someGates, ran(1000, 0, quick), ran(1000, 0, quick), ""},
		"both are equally ill":             {someGates, ran(1000, 300, quick), ran(1000, 300, quick), ""},
		"the new one is better":            {someGates, ran(1000, 0, quick), ran(1000, 300, always(9*ms)), ""},
		"every answer is an error":         {someGates, ran(60, 60, quick), ran(60, 0, quick), "answered 60 of 60 requests with a server error, which is 100 %, beside 0 % of the old one: upgrade.error_percent 1 allows 1 %"},
		"as many as are allowed":           {someGates, ran(1000, 10, quick), ran(1000, 0, quick), ""},
		"more, by chance":                  {someGates, ran(1000, 16, quick), ran(1000, 0, quick), ""},
		"more than chance":                 {someGates, ran(1000, 17, quick), ran(1000, 0, quick), "answered 17 of 1,000 requests with a server error, which is 1.7 %,"},
		"the old one's share counts":       {someGates, ran(1000, 17, quick), ran(1000, 8, quick), ""},
		"one error of the fewest requests": {someGates, ran(50, 1, quick), ran(1000, 0, quick), ""},
		"two of them":                      {someGates, ran(50, 2, quick), ran(1000, 0, quick), "which is 4 %"},
		"few requests and few errors":      {someGates, ran(49, 4, quick), ran(1000, 0, quick), ""},
		"few requests, enough errors":      {someGates, ran(5, 5, quick), ran(1000, 0, quick), "5 of 5 requests"},
		"few of them, and the old as ill":  {someGates, ran(5, 5, quick), ran(5, 5, quick), ""},
		"errors ahead of the finished":     {someGates, ran(0, 5, quick), ran(1000, 0, quick), "5 of 5 requests"},
		"an old one without requests":      {someGates, ran(100, 50, quick), ran(0, 0, quick), "beside 0 % of the old one"},
		"errors are no fault":              {with(func(g *configs.Upgrade) { g.ErrorPercent = 100 }), ran(1000, 1000, quick), ran(1000, 0, quick), ""},
		"no error more is allowed":         {with(func(g *configs.Upgrade) { g.ErrorPercent = 0 }), ran(1000, 1, quick), ran(1000, 0, quick), "1 of 1,000 requests"},

		"slower by factor and floor":   {someGates, ran(1000, 0, always(900*ms)), ran(1000, 0, always(100*ms)), "99th percentile of latency is 90"},
		"its words":                    {someGates, ran(1000, 0, always(2*time.Second)), ran(1000, 0, always(ms)), `of the old one: upgrade.latency_factor 3 and upgrade.latency_floor "50ms" allow 51 ms`},
		"slower by the factor alone":   {someGates, ran(1000, 0, always(40*ms)), ran(1000, 0, quick), ""},
		"slower by the floor alone":    {someGates, ran(1000, 0, always(250*ms)), ran(1000, 0, always(100*ms)), ""},
		"too few of the new one":       {someGates, ran(49, 0, always(9*time.Second)), ran(1000, 0, quick), ""},
		"too few of the old one":       {someGates, ran(1000, 0, always(9*time.Second)), ran(49, 0, quick), ""},
		"a hundredth is slow":          {someGates, ran(1000, 0, mostly(ms, 100, 9*time.Second)), ran(1000, 0, quick), ""},
		"a fiftieth is slow":           {someGates, ran(1000, 0, mostly(ms, 50, 9*time.Second)), ran(1000, 0, quick), "99th percentile"},
		"one of the fewest is slow":    {someGates, ran(50, 0, mostly(ms, 50, 9*time.Second)), ran(50, 0, quick), ""},
		"two of them are":              {someGates, ran(50, 0, mostly(ms, 25, 9*time.Second)), ran(50, 0, quick), "99th percentile"},
		"errors are told before it":    {someGates, ran(1000, 999, always(9*time.Second)), ran(1000, 0, quick), "server error"},
		"without a floor":              {with(func(g *configs.Upgrade) { g.LatencyFloor = 0 }), ran(1000, 0, always(4*ms)), ran(1000, 0, quick), "99th percentile"},
		"with a factor of 1, the same": {with(func(g *configs.Upgrade) { g.LatencyFactor, g.LatencyFloor = 1, 0 }), ran(1000, 0, quick), ran(1000, 0, quick), ""},
	} {
		got := trialFault(c.limits, c.candidate, c.baseline)
		if (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) {
			t.Errorf("%s: %q, not %q", name, got, c.fault)
		}
	}
}

// Two versions that are the same are told apart by chance alone: of many upgrades to the same program under all kinds of load, with errors and
// slow requests of its own, next to none is taken back.
func TestEqualVersionsPass(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const upgrades = 5000
	faults := map[bool]int{}
	var last string
	for range upgrades {
		ill := []float64{0, 0.0001, 0.01, 0.3}[random.IntN(4)]
		tail := 0.2 + 2*random.Float64() // of a lognormal distribution about 5 ms
		serve := func(requests int) *board.Sums {
			errors := 0
			for range requests {
				if random.Float64() < ill {
					errors++
				}
			}
			return ran(requests, errors, func(int) time.Duration {
				return time.Duration(math.Exp(random.NormFloat64()*tail) * float64(5*time.Millisecond))
			})
		}
		load := 20 + int(math.Exp(random.Float64()*5)*4)
		if fault := trialFault(someGates, serve(load), serve(3*load)); fault != "" {
			faults[strings.Contains(fault, "latency")]++
			last = fault
		}
	}
	if faults[false] > upgrades/100 || faults[true] > upgrades/100 {
		t.Errorf("of %d upgrades to the same version %d were taken back for errors and %d for latency, such as: %s",
			upgrades, faults[false], faults[true], last)
	}
	t.Logf("%d for errors, %d for latency: %s", faults[false], faults[true], last)
}

// A version that fails every tenth request, or takes ten times as long for every twentieth, does not pass once it has served enough.
func TestSickVersionsAreFound(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	missed := map[string]int{}
	const upgrades = 500
	for range upgrades {
		serve := func(ill, slow float64) *board.Sums {
			const requests = 400
			errors := 0
			for range requests {
				if random.Float64() < ill {
					errors++
				}
			}
			return ran(requests, errors, func(int) time.Duration {
				d := 20 + 10*random.Float64()
				if random.Float64() < slow {
					d *= 10
				}
				return time.Duration(d * float64(time.Millisecond))
			})
		}
		well := serve(0.001, 0)
		if trialFault(someGates, serve(0.1, 0), well) == "" {
			missed["errors"]++
		}
		if trialFault(someGates, serve(0.001, 0.05), well) == "" {
			missed["latency"]++
		}
	}
	for what, n := range missed {
		if n > upgrades/50 {
			t.Errorf("of %d sick versions %d passed that %s should have found", upgrades, n, what)
		}
	}
}

// More errors, or slower requests, never make a version better.
func TestGatesAreMonotonic(t *testing.T) {
	well := ran(1000, 5, always(3*time.Millisecond))
	faulty := false
	for errors := range 1000 {
		now := trialFault(someGates, ran(1000, errors, always(time.Millisecond)), well) != ""
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
		now := trialFault(someGates, ran(100, 0, always(d)), well) != ""
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
		for _, fault := range []string{trialFault(someGates, a, b), trialFault(someGates, b.Since(a), a.Since(b))} {
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
