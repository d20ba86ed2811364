package cli

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/tined/tined/child"
	"github.com/tined/tined/netcore/control"
)

// Hooks are what a program does at the turns of its processes' lives; each may be nil. Master runs in the master, the others in every
// child: see master.Options.Prepare and child.Hooks.
type Hooks struct {
	Master       func(ctx context.Context) error
	ChildStart   func(ctx context.Context, index int) error
	Ready, Drain func(index int) error
	Exit         func(ctx context.Context, index int) error
}

// childIndex is which child this process is, -1 for none. It is known from the process's beginning, before Main has looked at its
// arguments, and changes once at most: when a command makes this the single process.
var childIndex atomic.Int64

func init() {
	childIndex.Store(-1)
	if control.Role() != control.RoleChild {
		return
	}
	if index, err := strconv.Atoi(os.Getenv(control.EnvChild)); err == nil {
		childIndex.Store(int64(index))
	}
}

// ChildIndex says which child this process is, from 0. ok is false in the master and in the command line; a single process is child 0.
func ChildIndex() (index int, ok bool) {
	index = int(childIndex.Load())
	return index, index >= 0
}

// host makes this process a single one, and returns its child's main function. What children share is the process's own then.
func (p Program) host() func(index int, conn *control.Conn) int {
	childIndex.Store(0)
	o := childOptions(p)
	o.Hosted, o.Shared = true, nil
	return func(index int, conn *control.Conn) int {
		if index == control.Housekeeper {
			return child.ServeHousekeeper(o, conn)
		}
		return child.Serve(o, index, conn)
	}
}
