package master

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// workersSpec stands for the child's, which this package does not know.
var workersSpec = configs.BlockSpec{
	Name: "workers",
	Attributes: []configs.Attribute{
		{Name: "min", Type: configs.Int, Default: 2, Min: 0, Max: 1000},
		{Name: "max", Type: configs.Int, Default: 64, Min: 1, Max: 1000},
	},
	Check: func(b *configs.Block) []configs.Problem {
		if b.Int("min") > b.Int("max") {
			return []configs.Problem{{Message: "min is greater than max", Cure: "lower min"}}
		}
		return nil
	},
}

func withWorkers(t *testing.T, c *configs.Config) *configs.Config {
	t.Helper()
	block, err := configs.NewBlock(workersSpec, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Workers = block
	return c
}

// resizes are the numbers of workers that a child was sent, in order.
func resizes(c *child) (sent []control.Resize) {
	for _, m := range proc(c).sent {
		if r, ok := m.(*control.Resize); ok {
			sent = append(sent, *r)
		}
	}
	return sent
}

// Numbers that the operator sets reach every child that has committed at once, the others when they have, and every later life.
func TestResizeReachesEveryChild(t *testing.T) {
	f := newFleet(t, 3)
	withWorkers(t, f.config)
	first, second, third := f.last(0), f.last(1), f.last(2)
	f.brings(first, Proved)
	f.brings(second, Committing)
	f.brings(third, Proved)
	var late []int
	resize := func(least, most int) {
		late = nil
		f.resize(WorkersRequest{Min: least, Max: most}, "a test", func(n int) { late = append(late, n) })
	}
	want := func(c *child, numbers ...control.Resize) {
		t.Helper()
		if got := resizes(c); !slices.Equal(got, numbers) {
			t.Errorf("child %d was sent %v, not %v", c.slot.index, got, numbers)
		}
	}

	resize(1, 8)
	want(first, control.Resize{Min: 1, Max: 8})
	want(second)
	f.says(first, &control.Resized{})
	if late != nil {
		t.Fatal("answered before every child has")
	}
	f.says(second, &control.Committed{Generation: 1})
	want(second, control.Resize{Min: 1, Max: 8})
	f.says(third, &control.Resized{})
	if late != nil {
		t.Fatal("answered though a child has just been told")
	}
	f.says(second, &control.Resized{})
	if !slices.Equal(late, []int{0}) {
		t.Fatal(late)
	}

	// One that does not answer is counted, one that ends is not waited for, and its successor is told before it accepts.
	resize(0, 4)
	f.says(first, &control.Resized{})
	f.ends(third, bySignal(syscall.SIGKILL))
	f.after(f.bounds.resize)
	if !slices.Equal(late, []int{1}) {
		t.Fatal(late)
	}
	next := f.last(2)
	f.brings(next, Committing)
	want(next)
	f.says(next, &control.Committed{Generation: 1})
	want(next, control.Resize{Min: 0, Max: 4})
	if w := f.workersNow(); w != (Workers{Min: 0, Max: 4, ConfiguredMin: 2, ConfiguredMax: 64}) || w.Configured() {
		t.Errorf("%+v", w)
	}

	f.says(first, &control.Resized{})
	if first.state != Ending || !strings.Contains(first.fault, "without being asked") {
		t.Errorf("a child that answers what it was not asked is %s", first.state)
	}
}

// The operator's interface: what is asked, shown, and refused.
func TestWorkersOperation(t *testing.T) {
	o := Options{Schema: &configs.Schema{Workers: workersSpec}}
	h := launchWith(t, o, withWorkers(t, testConfig(t.TempDir())), nil)
	h.stdout.wait(t, "serving http", 1)
	client := NewClient(h.m.runtime.control)
	now, err := client.Workers(h.context())
	if err != nil || *now != (Workers{2, 64, 2, 64}) || !now.Configured() {
		t.Fatalf("%+v, %v", now, err)
	}
	if now, err = client.SetWorkers(h.context(), WorkersRequest{Min: 3, Max: 9}); err != nil || *now != (Workers{3, 9, 2, 64}) {
		t.Fatalf("%+v, %v", now, err)
	}
	for _, c := range []struct{ body, part string }{
		{``, "both numbers are needed"},
		{`{"min": 1}`, "both numbers are needed"},
		{`{"min": 2, "max": 1}`, "min is greater than max; lower min"},
		{`{"min": -1, "max": 1}`, "min cannot be -1"},
		{`{"min": 1, "max": 1001}`, "max cannot be 1001"},
		{`{"min": "1", "max": 2}`, "min must be a whole number, and is a string"},
		{`{"min": 1, "max": 1.5}`, "max must be a whole number"},
		{`{"min": 1, "max": 99999999999999999999}`, "max must be a whole number"},
		{`[1, 2]`, "workers: "},
		{`{`, "workers: "},
	} {
		request, err := http.NewRequestWithContext(h.context(), http.MethodPut, "http://tined/v1/workers", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), c.part) {
			t.Errorf("%s: %d %s, %v", c.body, response.StatusCode, answer, err)
		}
	}
	if now, err = client.Workers(h.context()); err != nil || *now != (Workers{3, 9, 2, 64}) {
		t.Errorf("after refusals: %+v, %v", now, err)
	}
}
