package child

import (
	"context"
	"sync"
	"time"

	"github.com/tined/tined/netcore/control"
)

// Hooks are what a program does at the turns of a child's life. Each may be nil, may block as long as its comment says, and runs on a
// goroutine that is not the loop's. They are called in this order, each once: Start, Ready, Drain, Exit. A child that is killed, or that
// never served, ends without the later ones.
type Hooks struct {
	// Start runs before the first generation is built; its error refuses the start. ctx ends before Exit is called, and when the master
	// goes before the child has served.
	Start func(ctx context.Context, index int) error
	// Ready runs once the child accepts. Its error, and those of Drain and Exit, are logged.
	Ready func(index int) error
	// Drain runs when the child begins to drain: handlers still run, and it is not waited for until Exit.
	Drain func(index int) error
	// Exit runs after the last exchange, and after Ready and Drain have returned. The child ends with ctx in any case.
	Exit func(ctx context.Context, index int) error
}

// fastExit is how long exit hooks may take in a fast stop: less than the master waits.
const fastExit = control.FastStop * 3 / 4

// hookRunner runs a child's hooks. Any goroutine may call it.
type hookRunner struct {
	hooks Hooks
	index int
	fail  func(hook string, err error) // logs what no caller takes

	ctx context.Context
	end context.CancelFunc

	mu      sync.Mutex
	begun   bool  // the start hook was called
	refused error // what it has returned
	started bool  // and has returned without an error
	readied bool
	last    chan struct{} // closed when the hook that was begun last has returned; nil: none was
}

func newHookRunner(hooks Hooks, index int, fail func(hook string, err error)) *hookRunner {
	h := &hookRunner{hooks: hooks, index: index, fail: fail}
	h.ctx, h.end = context.WithCancel(context.Background())
	return h
}

// start runs the start hook, once: later calls return what it has returned.
func (h *hookRunner) start() error {
	h.mu.Lock()
	again, refused := h.begun, h.refused
	h.begun = true
	h.mu.Unlock()
	if again {
		return refused
	}
	if h.hooks.Start != nil {
		if err := h.hooks.Start(h.ctx, h.index); err != nil {
			h.mu.Lock()
			h.refused = err
			h.mu.Unlock()
			return err
		}
	}
	h.mu.Lock()
	h.started = true
	h.mu.Unlock()
	return nil
}

// ready begins the ready hook, once.
func (h *hookRunner) ready() {
	h.mu.Lock()
	again := h.readied
	h.readied = true
	h.mu.Unlock()
	if !again && h.hooks.Ready != nil {
		h.follow("on ready", func() error { return h.hooks.Ready(h.index) })
	}
}

// drain begins the drain hook of a child that has served.
func (h *hookRunner) drain() {
	if h.hooks.Drain != nil {
		h.follow("on drain", func() error { return h.hooks.Drain(h.index) })
	}
}

// exit ends what the start hook has begun, and runs the exit hook of a child that was started. It returns after bound at the latest.
func (h *hookRunner) exit(bound time.Duration) {
	defer h.end()
	h.mu.Lock()
	started := h.started
	h.mu.Unlock()
	if !started {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	done := h.follow("on exit", func() error {
		h.end()
		if h.hooks.Exit == nil {
			return nil
		}
		return h.hooks.Exit(ctx, h.index)
	})
	select {
	case <-done:
	case <-ctx.Done():
		h.fail("on exit", context.DeadlineExceeded)
	}
}

// follow runs hook on a goroutine once all before it have returned.
func (h *hookRunner) follow(name string, hook func() error) (done <-chan struct{}) {
	next := make(chan struct{})
	h.mu.Lock()
	before := h.last
	h.last = next
	h.mu.Unlock()
	go func() {
		defer close(next)
		if before != nil {
			<-before
		}
		if err := hook(); err != nil {
			h.fail(name, err)
		}
	}()
	return next
}
