//go:build linux

package tined

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"

	"github.com/tined/tined/child/middleware"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/function"
	"github.com/tined/tined/child/module/redirect"
	"github.com/tined/tined/child/module/respond"
	"github.com/tined/tined/child/module/static"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/cmd/cli"
	"github.com/tined/tined/netcore/board"
)

// Options say what a program is called and what it links in. The zero value is a program that is called like its executable.
type Options struct {
	// Name is the program's name in its help and messages; "": that of the executable.
	Name string
	// Version is printed by `version` and reported by `status`; "": the main module's version.
	Version string
	// Short says in one line what the program is, for its help.
	Short string
	// Config is the configuration that is read without -c; "": /etc/NAME/NAME.hcl.
	Config string
	// Modules are linked in beside function, redirect, respond and static. One with the name of another takes its place.
	Modules []module.Module
	// Middleware are blocks that a site and a route may hold, beside compress, recover, request_id and timeout. One with the name of
	// another takes its place. What stands around the routes registered in code is given to Use.
	Middleware []module.Middleware
}

// A Program is a server in the making: its routes, named functions and modules. The functions of this package belong to one that is
// always there; a value of its own is for tests and for programs that want Options.
//
// Register everything before Main. The methods may be called by several goroutines.
type Program struct {
	options Options

	mu        sync.Mutex
	started   bool
	functions map[string]registration
	routes    map[string]registration // by the pattern's key
	order     []string                // the keys of routes as they came
	around    []Middleware            // of all routes
	hooks     [hookKinds][]hook
	names     map[string]string // of what processes share, with the place that registered each
	shared    board.Shared
}

// registration is a handler with the place that registered it.
type registration struct {
	pattern string
	handler Handler
	place   string // file:line
}

// New makes a program without routes.
func New(o Options) *Program {
	return &Program{options: o, functions: map[string]registration{}, routes: map[string]registration{}, names: map[string]string{}}
}

// Handle serves pattern with h, on every default site: the one that a configuration declares without hosts, or one that is added when it
// declares none, or the only one of a program without a configuration. The syntax of patterns is that of net/http.ServeMux, "[METHOD ]/path/{name}/{rest...}", without a
// host. It panics when the pattern is malformed or was registered before, or when Main has been called: the programmer's mistakes.
func (p *Program) Handle(pattern string, h Handler) { p.handle(pattern, h) }

// HandleFunc is Handle for a function whose result is the body of a 200 of type "text/plain; charset=utf-8".
func (p *Program) HandleFunc(pattern string, f func(r *Request) string) {
	p.handle(pattern, StringFunc(f))
}

// Func is FuncHandler for a function whose result is the body.
func (p *Program) Func(name string, f func(r *Request) string) { p.function(name, StringFunc(f)) }

// FuncHandler gives h the name by which a configuration serves it: function "NAME" {}. It panics when the name is empty or taken.
func (p *Program) FuncHandler(name string, h Handler) { p.function(name, h) }

// Use puts middleware around every route that is registered in code, before or after: the first is the outermost, and what a later call
// adds is inside what an earlier one has added. Named functions are routes of the configuration, which has middleware of its own; that of
// a site stands around the routes from code too, outside of what Use adds.
func (p *Program) Use(m ...Middleware) { p.use(m) }

// Main runs the program's command line and exits with its status. main calls it last.
func (p *Program) Main() { os.Exit(p.Run()) }

// Run is Main without the exit: it returns the exit status, for programs that have something to do after the end. It takes the command
// line and the signals of the process over, and may be called once.
func (p *Program) Run() int {
	return cli.Main(p.start())
}

// start ends the registration and gathers what was registered.
func (p *Program) start() cli.Program {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		panic("tined: Main was called before")
	}
	p.started = true
	functions := make(map[string]web.Handler, len(p.functions))
	for name, r := range p.functions {
		functions[name] = r.handler
	}
	program := cli.Program{
		Name: p.options.Name, Version: p.options.Version, Short: p.options.Short, DefaultConfig: p.options.Config,
		Modules: modules(functions, p.options.Modules), Middleware: blocks(p.options.Middleware),
		Hooks: p.gatherHooks(), Shared: &p.shared,
	}
	for _, key := range p.order {
		r := p.routes[key]
		program.Code = append(program.Code, module.CodeRoute{Pattern: r.pattern, Handler: web.Chain(r.handler, p.around...), Place: r.place})
	}
	return program
}

// modules are those of every program, in the order of their names, and more.
func modules(functions map[string]web.Handler, more []module.Module) []module.Module {
	byName := map[string]module.Module{}
	for _, m := range append([]module.Module{function.New(functions), redirect.Module{}, respond.Module{}, static.Module{}}, more...) {
		byName[m.Spec().Name] = m
	}
	var list []module.Module
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		list = append(list, byName[name])
	}
	return list
}

// blocks are the middleware of every program, in the order of their names, and more.
func blocks(more []module.Middleware) []module.Middleware {
	byName := map[string]module.Middleware{}
	for _, m := range append(middleware.All(), more...) {
		byName[m.Spec().Name] = m
	}
	var list []module.Middleware
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		list = append(list, byName[name])
	}
	return list
}

func (p *Program) use(more []Middleware) {
	at := place()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(at)
	for i, m := range more {
		if m == nil {
			panic(fmt.Sprintf("tined: %s: middleware %d is nil", at, i))
		}
	}
	p.around = append(p.around, more...)
}

// handle and function are called by exported functions only, so that the place of the registration is two calls up.

func (p *Program) handle(pattern string, h Handler) {
	at := place()
	parsed, err := web.ParsePattern(pattern)
	if err != nil {
		panic(fmt.Sprintf("tined: %s: %v", at, err))
	}
	if nothing(h) {
		panic(fmt.Sprintf("tined: %s: the handler of %q is nil", at, pattern))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(at)
	key := parsed.Key()
	if other, taken := p.routes[key]; taken {
		panic(fmt.Sprintf("tined: %s: the pattern %q is served already: %q at %s", at, pattern, other.pattern, other.place))
	}
	p.routes[key] = registration{pattern: pattern, handler: h, place: at}
	p.order = append(p.order, key)
}

func (p *Program) function(name string, h Handler) {
	at := place()
	if name == "" {
		panic(fmt.Sprintf("tined: %s: the name of a function is empty", at))
	}
	if nothing(h) {
		panic(fmt.Sprintf("tined: %s: the function %q is nil", at, name))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open(at)
	if other, taken := p.functions[name]; taken {
		panic(fmt.Sprintf("tined: %s: there is a function %q already, from %s", at, name, other.place))
	}
	p.functions[name] = registration{handler: h, place: at}
}

// open panics when it is too late to register. The caller holds mu.
func (p *Program) open(at string) {
	if p.started {
		panic(fmt.Sprintf("tined: %s: Main has been called; register before it", at))
	}
}

// nothing reports whether h is nil, or a nil function or pointer.
func nothing(h any) bool {
	if h == nil {
		return true
	}
	switch v := reflect.ValueOf(h); v.Kind() {
	case reflect.Func, reflect.Pointer, reflect.Map:
		return v.IsNil()
	}
	return false
}

// place is where the exported function was called from that called the caller of place.
func place() string { return callerPlace(3) }

// callerPlace is where the function was called from that is skip calls above the caller of callerPlace.
func callerPlace(skip int) string {
	_, file, line, ok := runtime.Caller(skip + 1)
	if !ok {
		return "unknown place"
	}
	return fmt.Sprintf("%s:%d", file, line)
}
