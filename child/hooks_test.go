package child

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// hookRecord notes what hooks do, and what is logged of them.
type hookRecord struct {
	mu     sync.Mutex
	events []string
}

func (r *hookRecord) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *hookRecord) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, "; ")
}

func (r *hookRecord) failed(hook string, err error) { r.add("%s: %v", hook, err) }

func TestHooksFollowOneAnother(t *testing.T) {
	r, goOn := new(hookRecord), make(chan struct{})
	var life context.Context
	h := newHookRunner(Hooks{
		Start: func(ctx context.Context, index int) error { life = ctx; r.add("start %d", index); return nil },
		Ready: func(int) error { <-goOn; r.add("ready"); return errors.New("not so") },
		Drain: func(int) error { r.add("drain"); return nil },
		Exit: func(_ context.Context, index int) error {
			r.add("exit, life is over: %v", life.Err() != nil)
			return nil
		},
	}, 3, r.failed)
	for range 2 { // a second preparation starts nothing again
		if err := h.start(); err != nil {
			t.Error(err)
		}
	}
	h.ready()
	h.ready()
	h.drain()
	if life.Err() != nil {
		t.Error("the life is over before the exit")
	}
	close(goOn)
	h.exit(patience)
	if got, want := r.String(), "start 3; ready; on ready: not so; drain; exit, life is over: true"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// A child whose start failed has nothing to clean up; one without hooks neither.
func TestNoExitWithoutAStart(t *testing.T) {
	r := new(hookRecord)
	h := newHookRunner(Hooks{
		Start: func(context.Context, int) error { return errors.New("no database") },
		Exit:  func(context.Context, int) error { r.add("exit"); return nil },
	}, 0, r.failed)
	for range 2 { // another preparation of the same child does not make it started
		if err := h.start(); err == nil || err.Error() != "no database" {
			t.Error("start succeeds", err)
		}
	}
	h.exit(patience)
	none := newHookRunner(Hooks{}, 0, r.failed)
	if err := none.start(); err != nil {
		t.Error(err)
	}
	none.ready()
	none.drain()
	none.exit(patience)
	if r.String() != "" {
		t.Error(r)
	}
}

// A hook that does not return cannot keep the child from its end.
func TestHangingHookIsNotWaitedFor(t *testing.T) {
	r, never := new(hookRecord), make(chan struct{})
	defer close(never)
	h := newHookRunner(Hooks{Drain: func(int) error { <-never; return nil }}, 0, r.failed)
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	h.drain()
	h.exit(time.Millisecond)
	if got := r.String(); got != "on exit: "+context.DeadlineExceeded.Error() {
		t.Error(got)
	}
}
