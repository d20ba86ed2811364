package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// flip starts another image of the program in this process's place, and tells the process before that this one has taken its place:
// tableflip, whose rules are that one upgrade can succeed in a process's life, that a process can upgrade only when its own parent has gone,
// and that a new one may die before Ready without harm. Any goroutine.
type flip interface {
	// Upgrade starts binary with the arguments, the directory and the environment of this process, and returns nil when it has said
	// Ready, or why it has not. envelope is the one file that it inherits.
	Upgrade(binary string, envelope *os.File) error
	// Ready confirms the upgrade that has started this process, if one has. Before it Upgrade fails.
	Ready() error
	// WaitForParent returns when the process that has started this one by an upgrade has gone; at once, if none has.
	WaitForParent(ctx context.Context) error
}

const (
	// envelopeName is the name of the file that the processes pass on.
	envelopeName = "heritage"
	// flipTimeout is tableflip's own bound of an upgrade: upgrade.timeout, which a reload or the operator can change, ends it before.
	flipTimeout = 24 * time.Hour
	// envHasParent is tableflip's mark of a process that an upgrade has started. Whatever inherits it, and uses tableflip too, would wait
	// for a parent that is none.
	envHasParent = "TABLEFLIP_HAS_PARENT_7DIU3"
)

// Upgraded reports whether an upgrade has started this process. It is known from the start until Run.
func Upgraded() bool { return os.Getenv(envHasParent) != "" }

type realFlip struct {
	upgrader *tableflip.Upgrader
	mu       sync.Mutex // one upgrade at a time: os.Args is the process's
}

// newFlip takes over what an upgrade has passed. envelope is nil when none has started this process. Once in a process.
func newFlip() (_ *realFlip, envelope *os.File, err error) {
	upgraded := Upgraded()
	if upgraded {
		// tableflip's two pipes: a child that held one would hide the end of this process, or of its parent.
		for fd := 3; fd <= 4; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	upgrader, err := tableflip.New(tableflip.Options{UpgradeTimeout: flipTimeout})
	_ = os.Unsetenv(envHasParent) // it fails for impossible names only
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	f := &realFlip{upgrader: upgrader}
	if !upgraded {
		return f, nil, nil
	}
	if envelope, err = upgrader.File(envelopeName); err == nil && envelope == nil {
		err = errors.New("the process before has passed nothing on: it is of another program")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	return f, envelope, nil
}

func (f *realFlip) Upgrade(binary string, envelope *os.File) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.upgrader.AddFile(envelopeName, envelope); err != nil {
		return err
	}
	// tableflip executes os.Args[0], in the working directory of the start.
	before := os.Args[0]
	os.Args[0] = binary
	err := f.upgrader.Upgrade()
	if err != nil {
		os.Args[0] = before
	}
	return err
}

func (f *realFlip) Ready() error { return f.upgrader.Ready() }

func (f *realFlip) WaitForParent(ctx context.Context) error { return f.upgrader.WaitForParent(ctx) }
