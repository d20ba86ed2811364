package module

import (
	"context"
	"errors"
	"time"

	"github.com/tined/tined/configs"
)

// A Housekeeper is a Module that has something to do again and again, once for the whole server and not in every child: to checkpoint a
// database, to make a backup, to renew a certificate. A process of its own, without listeners and with the rights of a child, does it;
// there is none while no route holds the block of such a module.
type Housekeeper interface {
	Module
	// Chores are what one route of a new generation wants done. It runs in the housekeeper only, and not in the children, where Open
	// does; it opens nothing that would have to be closed. An error refuses the generation; it names the file or value that is wrong.
	// env has no pools: its Pool panics.
	Chores(block *configs.Block, env *Env) ([]Chore, error)
}

// A Chore is done once for the whole server: by one process, and never twice at the same time. It must be idempotent, for it may be killed
// in the middle and begun again: when it does not return, when the server is stopped fast, when somebody kills the housekeeper.
type Chore struct {
	// Name tells the chores of one block apart: "checkpoint". In log and status it follows the names of module and site, and the pattern of
	// the route.
	Name string
	// Every is the time from the end of one run to the next, at least a millisecond. The first run comes after a small part of it, which
	// differs from chore to chore, so that not all begin at once.
	Every time.Duration
	// Timeout bounds one run, at least a millisecond. A run that does not return soon after it ends with its process.
	Timeout time.Duration
	// Run does it. Its error, and its panic, are logged; the next run comes as planned.
	//
	// ctx ends at the timeout, when the server stops, and when a reload has taken the chore away; context.Cause says which: ErrStopping,
	// ErrRetired, or the context's own error. It is waited for then: until the timeout, in a stop at most drain_timeout. A reload that
	// keeps the chore lets the run finish, and the next one is the new generation's. When the master dies, the run finishes too.
	Run func(ctx context.Context) error
}

// Reasons why the context of a chore ends before its timeout.
var (
	// ErrStopping: the housekeeper ends.
	ErrStopping = errors.New("the housekeeper stops")
	// ErrRetired: the configuration has no such chore any more.
	ErrRetired = errors.New("a reload has taken the chore away")
)
