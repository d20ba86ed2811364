package module

import (
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/configs"
)

// A Module is a kind of handler. Its methods may be called from several goroutines.
type Module interface {
	// Spec describes the module's block inside a route: its name, attributes, defaults and checks. The master and every child check
	// a configuration with it, so it looks at nothing outside the block.
	Spec() configs.BlockSpec
	// Open makes the instance for one route of a new generation, in a child. An error refuses the generation; it names the file or
	// value that is wrong. configs.Diagnostics, which have their places, are shown as they are; any other error with the route's place.
	Open(block *configs.Block, env *Env) (Instance, error)
}

// An Instance serves one route of one generation.
type Instance struct {
	// Handler answers the requests. If it is a web.NonBlocking, its ServeNow is tried on the loop first.
	Handler web.Handler
	// Pool runs Handler.Serve; nil: the child's own pool.
	Pool *worker.Pool
	// Close is called once, when nothing goes on under the generation any more: each of its handlers has returned, each response has left or
	// was given up, each PushStream has ended, and each connection that a handler has detached or hijacked is closed. nil: nothing to do.
	Close func()
}

// Env is what a child lends to an instance.
type Env struct {
	// Prefix is the route's literal prefix, ending in '/': modules that map paths see what is below it.
	Prefix string
	// Pattern is the route's pattern as it was written.
	Pattern string
	// Pool returns the pool called name, which lives as long as the child and is shared by all generations.
	Pool func(name string) *worker.Pool
	// Claims are the files that modules of this process keep to themselves; nil: none.
	Claims *Claims
	// Log writes one line to the server's log.
	Log func(level Level, message string, fields ...Field)
}

// Level is how loud a log line is.
type Level int8

// The levels, in rising order.
const (
	Debug Level = iota - 1
	Info
	Warn
	Error
)

// A Field is a key (snake_case) and a value of a log line.
type Field struct {
	Key   string
	Value any
}

// A CodeRoute is a handler that the program registered in code. It joins the default site.
type CodeRoute struct {
	Pattern string
	Handler web.Handler
	Place   string // file:line of the registration, for diagnostics
}
