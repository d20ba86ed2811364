//go:build linux

package tined

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/tined/tined/cmd/cli"
)

// The life of a program's processes, and the hooks in it:
//
//	master     everything is opened ─▶ OnMaster ─▶ children are started                         ─▶ they have ended
//	child                                            OnChildStart ─▶ accepts ─▶ OnReady … OnDrain ─▶ last request ─▶ OnExit
//
// Several hooks of one kind run one after another, in the order of their registration; the first error of OnMaster or OnChildStart
// ends the row. A single process is both, and runs each once.

// Child says which child of the server a hook runs in.
type Child struct {
	// Index is the child's place, from 0. A child that is started again has the index of the one that it replaces.
	Index int
}

// hookKind is where in a process's life a hook runs.
type hookKind int

const (
	onMaster hookKind = iota
	onChildStart
	onReady
	onDrain
	onExit
	hookKinds
)

func (k hookKind) String() string {
	return [...]string{"OnMaster", "OnChildStart", "OnReady", "OnDrain", "OnExit"}[k]
}

// hook is a registered function with the place that registered it.
type hook struct {
	run   func(ctx context.Context, c Child) error
	place string
}

// OnMaster registers f to run once per start of the server, in the master, when all addresses are bound and no child is started yet: the
// place to migrate a database, or to fill a SharedValue. An error refuses the start: it is printed, and the server ends with status 1.
//
// ctx ends when the server ends or the start is given up, so it is also that of a goroutine that does what must be done once, and not in
// every child. The master serves nothing: keep what it does small, for it must never fail.
func (p *Program) OnMaster(f func(ctx context.Context) error) { p.onMaster(f) }

func (p *Program) onMaster(f func(ctx context.Context) error) {
	p.hook(onMaster, f == nil, func(ctx context.Context, _ Child) error { return f(ctx) })
}

// OnChildStart registers f to run in each child before it serves anything: the place to open a database, for what the master has opened is
// not the child's. An error makes the start fail and is printed; in a server that serves already, the child is tried again after a
// while, and the error is logged. f has 60 seconds.
//
// ctx ends after the child's last request, before OnExit: it is that of the child's own background jobs.
func (p *Program) OnChildStart(f func(ctx context.Context, c Child) error) { p.onChildStart(f) }

func (p *Program) onChildStart(f func(ctx context.Context, c Child) error) {
	p.hook(onChildStart, f == nil, f)
}

// OnReady registers f to run in each child once it accepts connections. f must return, though not soon: OnDrain and OnExit wait for it.
func (p *Program) OnReady(f func(c Child)) { p.onReady(f) }

func (p *Program) onReady(f func(c Child)) {
	p.hook(onReady, f == nil, func(_ context.Context, c Child) error { f(c); return nil })
}

// OnDrain registers f to run in each child when it begins to drain: it accepts no more, and handlers still run. It is the place to end
// streams that would go on for ever, and to give up locks.
func (p *Program) OnDrain(f func(c Child)) { p.onDrain(f) }

func (p *Program) onDrain(f func(c Child)) {
	p.hook(onDrain, f == nil, func(_ context.Context, c Child) error { f(c); return nil })
}

// OnExit registers f to run in each child after its last request: the place to close a database. ctx ends after 5 seconds, in a fast stop
// after less than 2, and the child with it. A handler that has outlived drain_timeout may still run. A child that is killed or crashes,
// or is stopped before OnChildStart has returned, runs no OnExit.
func (p *Program) OnExit(f func(ctx context.Context, c Child)) { p.onExit(f) }

func (p *Program) onExit(f func(ctx context.Context, c Child)) {
	p.hook(onExit, f == nil, func(ctx context.Context, c Child) error { f(ctx, c); return nil })
}

// hook is called by what an exported function calls, so that place finds that function's caller.
func (p *Program) hook(kind hookKind, isNil bool, run func(ctx context.Context, c Child) error) {
	at := callerPlace(3)
	if isNil {
		panic(fmt.Sprintf("tined: %s: the function of %s is nil", at, kind))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(at)
	p.hooks[kind] = append(p.hooks[kind], hook{run: run, place: at})
}

// gatherHooks makes one function of each kind. A kind without hooks has none. The caller holds mu.
func (p *Program) gatherHooks() cli.Hooks {
	var h cli.Hooks
	if run := p.row(onMaster); run != nil {
		h.Master = func(ctx context.Context) error { return run(ctx, 0) }
	}
	h.ChildStart = p.row(onChildStart)
	if run := p.row(onReady); run != nil {
		h.Ready = func(index int) error { return run(context.Background(), index) }
	}
	if run := p.row(onDrain); run != nil {
		h.Drain = func(index int) error { return run(context.Background(), index) }
	}
	h.Exit = p.row(onExit)
	return h
}

// row runs the hooks of a kind in order; nil when there are none. An error of the hooks that may refuse a start is the last; after a
// panic of the others the next one still runs.
func (p *Program) row(kind hookKind) func(ctx context.Context, index int) error {
	hooks := slices.Clone(p.hooks[kind])
	if len(hooks) == 0 {
		return nil
	}
	return func(ctx context.Context, index int) error {
		var failures []string
		for _, h := range hooks {
			if err := h.call(ctx, kind, Child{Index: index}); err != nil {
				if kind == onMaster || kind == onChildStart {
					return err
				}
				failures = append(failures, err.Error())
			}
		}
		if failures == nil {
			return nil
		}
		return fmt.Errorf("%s", strings.Join(failures, "\n"))
	}
}

// call runs one hook and names it in its error. A panic is an error with the place that panicked and its stack. The hook has a goroutine
// of its own: one that ends it (runtime.Goexit) or locks it to its thread must not take the server's along.
func (h hook) call(ctx context.Context, kind hookKind, c Child) error {
	ended := make(chan error, 1)
	go func() {
		err := fmt.Errorf("%s of %s ended its goroutine and did not return", kind, h.place)
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("%s of %s panicked at %s: %v\n%s", kind, h.place, panicPlace(), value, debug.Stack())
			}
			ended <- err
		}()
		if err = h.run(ctx, c); err != nil {
			err = fmt.Errorf("%s of %s: %w", kind, h.place, err)
		}
	}()
	return <-ended
}

// panicPlace is where the panic began that a deferred function recovers from: the first frame below the runtime's own.
func panicPlace() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	panicking := false
	for {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !inRuntime {
			return fmt.Sprintf("%s:%d", frame.File, frame.Line)
		}
		panicking = panicking || inRuntime
		if !more {
			return "unknown place"
		}
	}
}

// IsChild reports whether this process serves: true in a child and in a single process, false in the master and in the other commands.
// In a child it is true from the process's beginning, in a single process from the beginning of Main's work, before any hook.
func IsChild() bool {
	_, ok := cli.ChildIndex()
	return ok
}

// ChildIndex is which child this process is, from 0 to the number of children less one; -1 where IsChild is false.
func ChildIndex() int {
	index, _ := cli.ChildIndex()
	return index
}
