package child

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/control"
)

// flightRetry is how long a sender waits when the system has too many descriptors of this user on their way, if no answer comes before.
const flightRetry = 10 * time.Millisecond

// A parcel is a connection on its way to another child.
type parcel struct {
	moving
	record control.Connection
}

// A shipment is one Connections message. Between ship and its answer nobody changes it.
type shipment struct {
	sequence uint32
	size     int    // of the message's body, in bytes
	ahead    []byte // unread bytes of the first parcel that go before the message
	parcels  []parcel
}

// An outlet is the giver's end of a handoff channel. Two goroutines serve it, so that the loop never waits: one sends, the other receives
// the answers and outlives it. The channel is over for the loop when both have ended, for only then no descriptor is looked at any more.
type outlet struct {
	conn      *control.Conn
	shipments chan *shipment
	ended     chan struct{} // closed when no answer can come any more
	answer    chan struct{} // one element: an answer has come

	mu     sync.Mutex // held while a message is sent: what an answer allows to reuse was read before
	reason string     // under mu; why it ends before its time

	// The loop's.
	loop     *loop
	giving   *giving
	sequence uint32
	waiting  []*shipment // shipped and not answered, the oldest first
	timer    netcore.Timer
	closing  bool // nothing is sent any more
	down     bool // and both directions are shut down
}

func newOutlet(conn *control.Conn) *outlet {
	return &outlet{conn: conn, shipments: make(chan *shipment, handoffWindow), ended: make(chan struct{}), answer: make(chan struct{}, 1)}
}

// outletsOf makes outlets of the files of an order, and says why some could not be made.
func outletsOf(files []*os.File) (outlets []*outlet, broken string) {
	for _, f := range files {
		conn, err := control.New(f)
		if err != nil {
			broken = err.Error()
			continue
		}
		outlets = append(outlets, newOutlet(conn))
	}
	if len(files) == 0 {
		broken = "no handoff channel has reached the child"
	}
	return outlets, broken
}

// give carries out a Give. Only the master that has asked is answered.
func (ch *child) give(conn *control.Conn, m *control.Give, files []*os.File) {
	outlets, broken := outletsOf(files)
	g := &giving{listeners: m.Listeners, outlets: outlets, room: m.Count, broken: broken}
	g.done = func(g *giving) {
		ch.answerTo(conn, &control.Gave{ID: m.ID, Count: g.moved, Broken: g.broken})
	}
	ch.watchOutlets(outlets)
	ch.loop.call(func() { ch.loop.give(g) })
}

// watchOutlets ends the channels when the loop has ended before them.
func (ch *child) watchOutlets(outlets []*outlet) {
	for _, o := range outlets {
		go func() {
			select {
			case <-o.ended:
			case <-ch.over:
				_ = o.conn.Shutdown() // an error means that it has ended
			}
		}()
	}
}

// drainGiving is drain for a child that gives its connections away. Those that cannot move, or are of other listeners, may bring one more
// request for as long as idle.
func (ch *child) drainGiving(timeout, idle time.Duration, listeners []uint32, files []*os.File) {
	outlets, broken := outletsOf(files)
	g := &giving{listeners: listeners, outlets: outlets, drain: true, room: math.MaxInt, broken: broken}
	g.done = func(g *giving) {
		l := ch.loop
		if l.moves.leave != g {
			return // another drain has taken its place, or the child has drained
		}
		l.moves.leave, l.moves.left, l.moves.leftAt = nil, g, l.now
		if l.drained == nil { // nothing is left
			return
		}
		ch.answer(&control.Gave{Count: g.moved, Broken: g.broken})
		forget := func() {
			if l.moves.left == g {
				l.moves.left = nil
				l.closeIdle()
			}
		}
		if l.moves.patience <= 0 {
			l.call(forget) // not now: this may be the middle of something
		} else {
			time.AfterFunc(l.moves.patience, func() { l.call(forget) })
		}
	}
	ch.watchOutlets(outlets)
	ch.drainOnto(timeout, idle, g)
}

// giveAway makes g the way by which a draining loop gives its connections away.
func (l *loop) giveAway(g *giving) {
	before := l.moves.leave
	if before == nil {
		l.moves.leave, l.moves.left = g, nil
		l.give(g)
		return
	}
	before.listeners = g.listeners
	before.outlets = append(before.outlets, g.outlets...)
	for _, o := range g.outlets {
		o.start(l, before)
	}
	if g.broken != "" {
		before.breaks(g.broken)
	}
	l.enlist(before)
	l.settleGiving(before)
}

// abandon ends the channels of a giving that was not begun; nil: there is none.
func (g *giving) abandon() {
	if g == nil {
		return
	}
	for _, o := range g.outlets {
		_ = o.conn.Close() // nothing was sent
		close(o.ended)
	}
}

// start begins to serve the channel.
func (o *outlet) start(l *loop, g *giving) {
	o.loop, o.giving = l, g
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		o.send()
	}()
	go o.receive(sent)
}

// takes reports whether a further message may be shipped.
func (o *outlet) takes() bool { return !o.closing && len(o.waiting) < handoffWindow }

// ship hands a message to the sender.
func (l *loop) ship(g *giving, o *outlet, s *shipment) {
	n := len(s.parcels)
	g.room -= n
	g.transit += n
	l.moves.transit += n
	o.sequence++
	s.sequence = o.sequence
	if o.waiting = append(o.waiting, s); len(o.waiting) == 1 {
		l.wheel.Schedule(&o.timer, l.now+l.moves.answerBound)
	}
	o.shipments <- s // has room: as many as may wait for an answer
}

// send is the sending goroutine.
func (o *outlet) send() {
	for {
		select {
		case s := <-o.shipments:
			if err := o.sendShipment(s); err != nil {
				if !masterGone(err) { // what has ended the channel is known
					o.fail(err.Error())
				}
				_ = o.conn.Shutdown() // an error means that it has ended
				return
			}
		case <-o.ended:
			return
		}
	}
}

func (o *outlet) sendShipment(s *shipment) error {
	for ahead := s.ahead; len(ahead) > 0; {
		n := min(len(ahead), control.MaxBody)
		if err := o.sendOne(&control.Unread{Bytes: ahead[:n]}); err != nil {
			return err
		}
		ahead = ahead[n:]
	}
	m := &control.Connections{Sequence: s.sequence, Records: make([]control.Connection, len(s.parcels))}
	fds := make([]int, len(s.parcels))
	for i := range s.parcels {
		m.Records[i], fds[i] = s.parcels[i].record, s.parcels[i].fd
	}
	for tries := 0; ; tries++ {
		err := o.sendOne(m, fds...)
		if !errors.Is(err, unix.ETOOMANYREFS) || time.Duration(tries)*flightRetry > control.SendTimeout {
			return err
		}
		// More descriptors are on their way than this user may have open (unix(7)): those that arrive make room.
		retry := time.NewTimer(flightRetry)
		select {
		case <-o.answer:
		case <-retry.C:
		case <-o.ended:
		}
		retry.Stop()
	}
}

func (o *outlet) sendOne(m control.Message, fds ...int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conn.Send(m, fds...)
}

// fail notes why the channel ends before its time; the first reason counts.
func (o *outlet) fail(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reason == "" {
		o.reason = reason
	}
}

// receive is the receiving goroutine: it brings the loop the answers, and then the end of the channel.
func (o *outlet) receive(sent <-chan struct{}) {
	l := o.loop
	for last := false; ; {
		m, files, err := o.conn.Receive()
		closeFiles(files)
		if err != nil {
			if last || errors.Is(err, io.EOF) {
				break
			}
			o.fail(err.Error())
			_ = o.conn.Shutdown() // behind what has arrived comes EOF
			last = !errors.Is(err, control.ErrMalformed) && !errors.Is(err, control.ErrVersion) && !errors.Is(err, control.ErrFilesLost)
			continue
		}
		o.sentBefore()
		switch m := m.(type) {
		case *control.Held:
			l.call(func() { l.answered(o, m.Sequence, "") })
		case *control.NotHeld:
			l.call(func() { l.answered(o, m.Sequence, "not held: "+m.Reason) })
		}
		select {
		case o.answer <- struct{}{}:
		default:
		}
	}
	_ = o.conn.Shutdown() // what the sender sends now fails
	close(o.ended)
	<-sent
	_ = o.conn.Close() // nothing was left unsent that anybody waits for
	o.mu.Lock()
	reason := o.reason
	o.mu.Unlock()
	l.call(func() { l.outletEnded(o, reason) })
}

// sentBefore returns once the message that an answer is about was sent, whatever its sender does now: its memory is nobody's any more.
func (o *outlet) sentBefore() {
	o.mu.Lock()
	defer o.mu.Unlock()
}

// answered takes the answer to a message; refused is "" for held.
func (l *loop) answered(o *outlet, sequence uint32, refused string) {
	g := o.giving
	i := slices.IndexFunc(o.waiting, func(s *shipment) bool { return s.sequence == sequence })
	if i < 0 {
		l.giveUp(o, fmt.Sprintf("the taker has answered message %d, which does not wait for an answer", sequence))
		return
	}
	s := o.waiting[i]
	o.waiting = slices.Delete(o.waiting, i, i+1)
	l.wheel.Cancel(&o.timer)
	if len(o.waiting) > 0 {
		l.wheel.Schedule(&o.timer, l.now+l.moves.answerBound)
	}
	if refused == "" {
		g.moved += len(s.parcels)
		for i := range s.parcels {
			l.handedOver(g, &s.parcels[i])
		}
	} else {
		o.closing = true
		g.breaks(refused)
		for i := range s.parcels {
			l.takeBack(g, &s.parcels[i])
		}
	}
	l.settleGiving(g)
	l.checkDrained()
}

// breaks notes why a channel has ended before its time; the first reason counts.
func (g *giving) breaks(why string) {
	if g.broken == "" {
		g.broken = why
	}
}

// giveUp ends a channel before its time. Nothing is taken back before it is known what the taker has acknowledged.
func (l *loop) giveUp(o *outlet, why string) {
	o.giving.breaks(why)
	o.closing = true
	l.shutDown(o)
}

func (l *loop) shutDown(o *outlet) {
	if !o.down {
		o.down = true
		_ = o.conn.Shutdown() // an error means that it has ended
	}
}

// outletLate is called by the wheel for a timer of no connection: a taker has been silent for too long.
func (l *loop) outletLate(t *netcore.Timer) {
	for _, g := range l.moves.givings {
		for _, o := range g.outlets {
			if t == &o.timer {
				l.giveUp(o, "the taker does not answer")
			}
		}
	}
}

// outletEnded takes the end of a channel: what was not acknowledged goes on here.
func (l *loop) outletEnded(o *outlet, reason string) {
	g := o.giving
	if reason == "" && !o.down {
		reason = "the taker has ended the channel"
	}
	if reason != "" {
		g.breaks(reason)
	}
	o.closing, o.down = true, true
	l.wheel.Cancel(&o.timer)
	g.outlets = slices.DeleteFunc(g.outlets, func(other *outlet) bool { return other == o })
	for _, s := range o.waiting {
		for i := range s.parcels {
			l.takeBack(g, &s.parcels[i])
		}
	}
	o.waiting = nil
	l.settleGiving(g)
	l.checkDrained()
}

// handedOver forgets a connection that its taker has acknowledged.
func (l *loop) handedOver(g *giving, p *parcel) {
	g.transit--
	l.moves.transit--
	l.numbers.closed[reasonMoved]++
	l.life.Closed(int(reasonMoved))
	netcore.Close(p.fd)
	if p.unread != nil {
		l.buffers.Put(p.unread)
	}
	l.leaveListener(p.listener)
	l.stale = true
	if l.choked {
		l.unchoke()
	}
}

// takeBack makes a connection of a parcel that nobody has acknowledged.
func (l *loop) takeBack(g *giving, p *parcel) {
	c := l.install(&p.moving)
	g.room++
	g.transit--
	l.moves.transit--
	l.stale = true
	switch {
	case c.has(flagClosed):
	case l.moves.drainOver:
		l.close(c, reasonDrainTimeout)
	case g.drain && l.givable(c):
		l.moves.leave.list(c)
	case !g.drain:
		g.candidates = append(g.candidates, c.timer.Key)
	}
}

// settleGiving ends channels that are not needed any more, and a giving that is over: all is answered, and nothing more can move.
func (l *loop) settleGiving(g *giving) {
	if !slices.Contains(l.moves.givings, g) {
		return
	}
	usable := slices.ContainsFunc(g.outlets, func(o *outlet) bool { return !o.closing })
	over := !usable || g.room <= 0 || !g.drain && l.candidate(g) == nil
	for _, o := range g.outlets {
		if len(o.waiting) == 0 && (over || o.closing) {
			o.closing = true
			l.shutDown(o)
		}
	}
	if over && g.transit == 0 {
		l.moves.givings = slices.DeleteFunc(l.moves.givings, func(other *giving) bool { return other == g })
		g.done(g)
	}
}
