package child

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// The death of the master, as its child sees it:
//
//  1. The control channel ends. What was ordered before is carried out, and a generation that was prepared only is dropped.
//  2. A child that was never told to accept ends: nobody would ever tell it. Any other one is an orphan: it serves and accepts as before,
//     its log lines wait, and setting a shared value fails.
//  3. A later master connects to the child's own socket and proves by the secret that it is one. Its connection is the control channel
//     from then on; the child gives it a descriptor of all that it holds. Step 1 may come again.
//  4. When orphan_timeout passes without that, the child drains as it was configured to: nobody can change any more what it serves.
//
// Orders of all masters are obeyed by one goroutine, one after another, and an adoption is one of them: what a master is told of the child
// is not changed any more by what the one before has ordered.

const (
	// knockBound is how long a connection to the child's own socket may take to say its first message, and how long one that has said
	// the right one waits for the end of the master before.
	knockBound = time.Second
	// doorRetry is how long the child's own socket rests after an error, such as a lack of descriptors.
	doorRetry = 100 * time.Millisecond
	// holdingsBound is how long the loop may take to say what it holds.
	holdingsBound = 2 * time.Second
	// shardsAtOnce is how many shards one message of an adoption carries: with the longest names and addresses they fit.
	shardsAtOnce = 64
)

// link is the place of the control channel: it has one while there is a master. Any goroutine may use it.
type link struct {
	conn atomic.Pointer[control.Conn]
	next atomic.Pointer[nextMaster] // nil: nobody is about to be the master; set on the loop

	mu    sync.Mutex
	alone chan struct{} // closed while there is no master
	wake  func()        // called when there is one again; set before the link is used
}

func newLink(conn *control.Conn) *link {
	l := &link{alone: make(chan struct{}), wake: func() {}}
	l.conn.Store(conn)
	return l
}

// get returns the channel to the present master; nil: there is none.
func (l *link) get() *control.Conn { return l.conn.Load() }

// lose notes that there is no master any more.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn.Swap(nil) != nil {
		close(l.alone)
	}
}

// find gives the link a new master.
func (l *link) find(conn *control.Conn) {
	l.mu.Lock()
	if l.conn.Swap(conn) == nil {
		l.alone = make(chan struct{})
	}
	l.mu.Unlock()
	l.next.Store(nil) // only now: one of both names the master to whoever looks in this order
	l.wake()
}

// lost returns a channel that is closed when there is no master.
func (l *link) lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alone
}

// A nextMaster is being told what the child holds. What happens on the loop after it has said that is for this master already: it waits until
// the telling is over.
type nextMaster struct {
	conn  *control.Conn
	over  chan struct{} // closed when the telling is over
	taken bool          // it has become the master; before over is closed
}

// masterGone reports whether a message could not be sent because its receiver is gone.
func masterGone(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrClosed)
}

// orphaned is an order of the child to itself, when the channel has ended.
type orphaned struct{}

// adoption is a master's wish to take the child over, once the secret was right.
type adoption struct {
	conn    *control.Conn
	version string
	done    chan error // nil: the child is the master's
}

// Kind makes them orders; they never leave the process.
func (orphaned) Kind() control.Kind  { return 0 }
func (*adoption) Kind() control.Kind { return control.KindAdopt }

// order queues a message for the goroutine that obeys. false: the child has ended.
func (ch *child) order(o order) bool {
	select {
	case ch.orders <- o:
		return true
	case <-ch.over:
		closeFiles(o.files)
		return false
	}
}

// obeyAll carries the orders out, of this master and of later ones.
func (ch *child) obeyAll() {
	for {
		select {
		case o, ok := <-ch.orders:
			if !ok {
				return
			}
			if err := ch.carryOut(o); err != nil && !masterGone(err) {
				ch.logLine(levelError, "control channel", "message", o.message.Kind().String(), "error", err)
			}
		case <-ch.over:
			return
		}
	}
}

func (ch *child) carryOut(o order) error {
	switch m := o.message.(type) {
	case orphaned:
		ch.beOrphan()
		return nil
	case *adoption:
		err := ch.beAdopted(m, o.files)
		m.done <- err
		return nil
	}
	return ch.obey(o.conn, o.message, o.files)
}

// masterless follows the end of a channel, on the goroutine that has received from it.
func (ch *child) masterless(conn *control.Conn) {
	_ = conn.Close() // it has ended
	ch.sharing.orphaned()
	ch.order(order{message: orphaned{}})
	ch.link.lose() // only now: an adoption is obeyed after the order
	if ch.door == nil {
		close(ch.orders) // nobody can come any more
	}
	if !ch.admitted.Load() {
		// At once, whatever the order before does: a hook or a module of a start that nobody waits for any more is left alone.
		ch.drainAsConfigured()
	}
}

// beOrphan begins the time without a master.
func (ch *child) beOrphan() {
	ch.mu.Lock()
	g := ch.prepared
	timeout := ch.orphanTimeout
	ch.mu.Unlock()
	if g != nil {
		ch.abort(g.number)
	}
	if !ch.admitted.Load() { // its end is on its way
		return
	}
	if ch.door == nil || timeout <= 0 {
		ch.drainAsConfigured()
		return
	}
	ch.logLine(levelWarn, "the master is gone; the child goes on and waits for another one", "orphan_timeout", timeout)
	ch.awaitMaster(timeout)
}

// awaitMaster lets the child drain at the end of timeout, unless it is adopted before.
func (ch *child) awaitMaster(timeout time.Duration) {
	ch.patience = time.AfterFunc(timeout, func() {
		ch.logLine(levelWarn, "no master has taken the child over within orphan_timeout: it drains")
		ch.drainAsConfigured()
	})
}

// answerDoor takes what comes by the child's own socket, one connection at a time, until the door is closed. Who can connect is of the
// master's user or root, and may still be no master: nobody is believed without the secret, and nobody is waited for.
func (ch *child) answerDoor() {
	for {
		conn, err := ch.door.Accept()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			ch.logLine(levelWarn, "the child's own socket", "error", err)
			select {
			case <-time.After(doorRetry):
			case <-ch.over:
				return
			}
			continue
		}
		if err := ch.knock(conn); err != nil {
			ch.logLine(levelWarn, "a connection to the child's own socket is declined", "reason", err)
			_ = conn.SendWithin(knockBound, &control.Declined{Reason: err.Error()}) // it may not wait for an answer
			_ = conn.Close()
		}
	}
}

// knock takes a connection's first message. It returns nil when the connection has become the control channel.
func (ch *child) knock(conn *control.Conn) error {
	if err := conn.ReceiveBy(time.Now().Add(knockBound)); err != nil {
		return err
	}
	m, files, err := conn.Receive()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it has said nothing for %v", knockBound)
	case err != nil:
		return err
	}
	a, ok := m.(*control.Adopt)
	switch {
	case !ok:
		err = fmt.Errorf("it begins with %s, and not with %s", m.Kind(), control.KindAdopt)
	case !ch.sharing.isSecret(a.Secret):
		err = errors.New("it does not know the secret")
	case len(files) != len(ch.output):
		err = fmt.Errorf("%d files came for the standard output and the standard error", len(files))
	default:
		err = conn.ReceiveBy(time.Time{})
	}
	if err != nil {
		closeFiles(files)
		return err
	}
	// The next master may have come faster than the news of the last one's end.
	timer := time.NewTimer(knockBound)
	defer timer.Stop()
	select {
	case <-ch.link.lost():
	case <-timer.C:
		closeFiles(files)
		return errors.New("the child has a master, which lives")
	}
	wish := &adoption{conn: conn, version: a.Version, done: make(chan error, 1)}
	if !ch.order(order{message: wish, files: files}) {
		return errors.New("the child has ended")
	}
	select {
	case err := <-wish.done:
		return err
	case <-ch.over:
		return errors.New("the child has ended")
	}
}

// holdings are what the loop has, at one moment.
type holdings struct {
	adopted control.Adopted
	shards  []control.Shard
	fds     []int // of the shards, duplicates
	err     error
}

// holdings asks the loop. What the loop has to say from then on is for next.
func (ch *child) holdings(next *nextMaster) (*holdings, error) {
	var taken atomic.Bool // by the loop, or given up
	answer := make(chan *holdings, 1)
	ch.loop.call(func() {
		if !taken.CompareAndSwap(false, true) {
			return
		}
		ch.link.next.Store(next)
		l := ch.loop
		h := &holdings{adopted: control.Adopted{
			Pid: os.Getpid(), Version: ch.options.Version, Child: ch.index, Accepting: l.acceptsAll(), Draining: l.draining,
		}}
		if l.generation != nil {
			h.adopted.Generation, h.adopted.Digest = l.generation.number, l.generation.digest
		}
		for _, s := range l.shards {
			fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				h.err = os.NewSyscallError("fcntl", err)
				break
			}
			h.fds = append(h.fds, fd)
			h.shards = append(h.shards, s.named())
		}
		answer <- h
	})
	timer := time.NewTimer(holdingsBound)
	defer timer.Stop()
	select {
	case h := <-answer:
		return h, h.err
	case <-ch.over:
	case <-timer.C:
	}
	if taken.CompareAndSwap(false, true) {
		return nil, errors.New("the child's loop does not turn")
	}
	h := <-answer
	return h, h.err
}

// beAdopted makes the connection of a new master the control channel, and tells it what the child is and holds. It owns the files, two
// pipes.
func (ch *child) beAdopted(a *adoption, pipes []*os.File) error {
	defer closeFiles(pipes)
	if !ch.admitted.Load() {
		return errors.New("the child has never served, and ends")
	}
	waits := ch.patience != nil && ch.patience.Stop()
	next := &nextMaster{conn: a.conn, over: make(chan struct{})}
	defer close(next.over)
	h, err := ch.holdings(next)
	if h != nil {
		defer closeDescriptors(h.fds)
	}
	if err == nil {
		err = ch.handOver(a.conn, h)
	}
	if err != nil {
		ch.link.next.Store(nil)
		if waits { // an orphan again, with a time of its own
			ch.mu.Lock()
			timeout := ch.orphanTimeout
			ch.mu.Unlock()
			ch.awaitMaster(timeout)
		}
		return err
	}
	for i, fd := range ch.output {
		if err := takeOutput(pipes[i], fd); err != nil {
			ch.logLine(levelError, "an output of the child still goes to the master before", "descriptor", fd, "error", err)
		}
	}
	next.taken = true
	ch.link.find(a.conn)
	ch.sharing.adopted()
	ch.logLine(levelInfo, "another master has taken the child over", "version", a.version)
	go ch.attend(a.conn)
	return nil
}

// handOver sends all that the child holds.
func (ch *child) handOver(conn *control.Conn, h *holdings) error {
	files, counters, err := ch.sharing.heirlooms()
	if err != nil {
		return err
	}
	defer closeDescriptors(files)
	m := &h.adopted
	m.Counters = counters
	kept := ch.sharing.kept()
	m.Values = len(kept)
	var own int
	err = ch.door.Pass(func(fd int) { own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) })
	if err != nil {
		return fmt.Errorf("the child's own socket: %w", err)
	}
	files = append([]int{own}, files...)
	defer closeDescriptors(files[:1])
	for shards, fds := h.shards, h.fds; ; {
		n := min(len(shards), shardsAtOnce)
		m.Shards, m.More = shards[:n], n < len(shards)
		if err := conn.Send(m, append(files, fds[:n]...)...); err != nil {
			return err
		}
		if !m.More {
			break
		}
		shards, fds = shards[n:], fds[n:]
		m, files = &control.Adopted{Pid: m.Pid, Version: m.Version, Child: m.Child}, nil
	}
	for _, k := range kept {
		if err := conn.Send(k); err != nil {
			return err
		}
	}
	return nil
}

// takeOutput makes a pipe the open file behind a descriptor that the program writes to. Its writers expect one that blocks.
func takeOutput(pipe *os.File, fd int) error {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	outer := raw.Control(func(theirs uintptr) {
		if err = unix.SetNonblock(int(theirs), false); err == nil {
			err = unix.Dup3(int(theirs), fd, 0)
		}
	})
	if outer != nil {
		return outer
	}
	return err
}

func closeDescriptors(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// isSecret reports whether text is what the master that has started this child has left for the next one.
func (s *sharing) isSecret(text []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.secret) > 0 && subtle.ConstantTimeCompare(s.secret, text) == 1
}

// heirlooms are descriptors of the segments that came with Board, in their order, which the caller closes, and the names of the counters.
func (s *sharing) heirlooms() (fds []int, counters []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil, nil, errors.New("the child has no segments: its master before has not sent any")
	}
	for _, f := range s.segments {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3) // of a memory file, which Fd does not change
		if err != nil {
			closeDescriptors(fds)
			return nil, nil, fmt.Errorf("segments: %w", os.NewSyscallError("fcntl", err))
		}
		fds = append(fds, fd)
	}
	return fds, s.counters, nil
}

// kept are the values that were set.
func (s *sharing) kept() (kept []*control.Kept) {
	if s.state == nil {
		return nil
	}
	for _, v := range s.state.Values() {
		if text, revision := v.Reading(); revision > 0 {
			kept = append(kept, &control.Kept{Name: v.Name(), Revision: revision, Text: []byte(text)})
		}
	}
	return kept
}
