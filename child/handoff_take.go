package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tined/tined/netcore/control"
)

// take serves the taker's end of a handoff channel until that ends. Several may be served side by side.
func (ch *child) take(file *os.File) error {
	conn, err := control.New(file)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := &intake{child: ch, conn: conn}
		if err := t.serve(); !errors.Is(err, io.EOF) && !masterGone(err) {
			ch.logLine(levelWarn, "taking connections of another child has ended", "error", err)
		}
		_ = conn.Close()
	}()
	go func() {
		select {
		case <-done:
		case <-ch.over:
			_ = conn.Shutdown()
		}
	}()
	return nil
}

// An intake is the taker's end of a handoff channel, on a goroutine of its own.
type intake struct {
	child *child
	conn  *control.Conn
	ahead []byte // unread bytes of the first connection of the next message
	long  bool   // they were too many
}

// serve takes what comes until the channel ends.
func (t *intake) serve() error {
	for {
		m, fds, err := t.conn.ReceiveDescriptors()
		lost := m != nil && errors.Is(err, control.ErrFilesLost)
		if err != nil && !lost {
			return err
		}
		switch m := m.(type) {
		case *control.Unread:
			closeDescriptors(fds)
			if t.long = t.long || len(t.ahead)+len(m.Bytes) > unreadMost; !t.long {
				t.ahead = append(t.ahead, m.Bytes...)
			}
		case *control.Connections:
			if err := t.hold(m, fds, lost); err != nil {
				return err
			}
			t.ahead, t.long = nil, false
		default: // of a later version
			closeDescriptors(fds)
		}
	}
}

// hold acknowledges a message or declines it. It owns fds.
func (t *intake) hold(m *control.Connections, fds []int, lost bool) error {
	refused := ""
	switch {
	case lost:
		refused = "descriptors were lost: the limit of open files is reached"
	case len(fds) != len(m.Records):
		refused = fmt.Sprintf("%d descriptors came for %d connections", len(fds), len(m.Records))
	case t.long:
		refused = "the unread bytes of a connection are too many"
	default:
		refused = t.child.mayTake(len(fds))
	}
	if refused != "" {
		closeDescriptors(fds)
		return t.conn.Send(&control.NotHeld{Sequence: m.Sequence, Reason: refused})
	}
	l := t.child.loop
	// From here on they are this child's, if the giver still listens: it takes back what could not be acknowledged.
	if err := t.conn.Send(&control.Held{Sequence: m.Sequence}); err != nil {
		closeDescriptors(fds)
		l.call(func() {
			l.moves.taking -= len(fds)
			l.checkDrained()
		})
		return err
	}
	if len(t.ahead) > 0 {
		m.Records[0].Unread = append(t.ahead, m.Records[0].Unread...)
	}
	l.call(func() { l.takeIn(m.Records, fds) })
	return nil
}

// mayTake asks the loop whether it takes n connections, and says why not.
func (ch *child) mayTake(n int) (refused string) {
	answer := make(chan string, 1)
	ch.loop.call(func() { answer <- ch.loop.mayTake(n) })
	select {
	case refused = <-answer:
		return refused
	case <-ch.over:
	}
	select {
	case refused = <-answer:
		return refused
	default:
		return "the child has ended"
	}
}

// mayTake promises to take n connections, or says why not. What is promised keeps a drain from its end.
func (l *loop) mayTake(n int) (refused string) {
	switch {
	case l.generation == nil:
		return "the child serves nothing yet"
	case l.draining || l.stopped:
		return "the child drains"
	case l.mostConnections > 0 && l.open()+l.moves.taking+n > l.mostConnections:
		return "the limit of open files is near"
	}
	l.moves.taking += n
	return ""
}

// takeIn makes connections of those that were acknowledged. limits.connections has no say: they are open already.
func (l *loop) takeIn(records []control.Connection, fds []int) {
	for i := range records {
		r := &records[i]
		from := l.listenerOf(r.Listener, fmt.Sprintf("listener %d", r.Listener))
		from.users++
		m := &moving{
			fd: fds[i], listener: from, peer: r.Peer, entry: entryOf(r, from),
			exchanges: r.Exchanges, received: r.Received, sent: r.Sent, due: never,
		}
		if r.LeftMillis >= 0 && r.LeftMillis < never/int64(2*time.Millisecond) {
			m.due = l.now + r.LeftMillis*int64(time.Millisecond)
		}
		if len(r.Unread) > 0 {
			m.unread = append(l.buffers.Get(len(r.Unread)+1024), r.Unread...)
		}
		l.numbers.movedIn++
		l.moves.taking--
		if c := l.install(m); l.moves.drainOver {
			l.close(c, reasonDrainTimeout)
		}
	}
	l.stale = true
	l.checkDrained()
}

// entryOf is how a connection came in that another child has accepted.
func entryOf(r *control.Connection, from *listener) *entry {
	switch {
	case r.Preface && len(from.prefaces) > 0:
		return &entry{stages: from.prefaces}
	case r.Preface: // the listener has none any more, or is not known: they were as the connection was accepted
		return &entry{stages: []preface{proxyProtocol{}}}
	case r.Client.IsValid() || r.Server.IsValid() || r.Hidden || r.HTTPS:
		return &entry{client: r.Client, server: r.Server, hidden: r.Hidden, https: r.HTTPS}
	}
	return nil
}
