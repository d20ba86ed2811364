package master

import (
	"os"
	"sync"
	"syscall"

	"github.com/tined/tined/netcore/control"
)

// hosted is a child that runs on a goroutine of this process: the loop talks to it as to any other.
type hosted struct {
	*running
	exiting sync.Once
}

// startGoroutine starts run as a child. log takes its Log messages, post its events.
func startGoroutine(log func(*control.Log), post func(event any), run func(*control.Conn) int) (process, error) {
	ours, theirs, err := control.Pair()
	if err != nil {
		return nil, err
	}
	conn, err := control.New(theirs)
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	h := &hosted{running: &running{conn: ours, post: post, outbox: make(chan outgoing, outboxSize)}}
	go h.receive(log)
	go h.send()
	go func() { h.exit(syscall.WaitStatus(run(conn) << 8)) }()
	return h, nil
}

func (h *hosted) exit(status syscall.WaitStatus) {
	h.exiting.Do(func() { h.post(exit{status}) })
}

func (h *hosted) Pid() int { return os.Getpid() }

// Kill leaves the goroutine to itself: nothing can end it but the end of the process, which comes next, for a single process that has
// lost its child ends.
func (h *hosted) Kill(s syscall.Signal) {
	_ = h.conn.Close()
	go h.exit(syscall.WaitStatus(s))
}
