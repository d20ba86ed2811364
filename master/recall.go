package master

import (
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/tined/tined/netcore/control"
)

// When one of two masters dies, or gives up, its children that have accepted go on, like the orphans of any dead master (adopt.go), and wait
// at their sockets in the common folder. The other master calls them home: it takes each over, and lets it drain, and give its connections
// to the children of its own. So an upgrade that fails at any moment, on either side, leaves one version that serves.

// recalled is a life that was taken over to be sent away.
const recalled = "it is of another master, whose place this one has taken"

// recall takes over the children of the other master that has gone. done is called on the loop once all that could be reached are in the
// books; they drain then, or will as soon as this master serves. silent is how many have not answered.
func (m *master) recall(why string, done func(silent int)) {
	own := map[string]bool{}
	for c := range m.lives {
		own[c.socketName] = true
	}
	names, err := m.runtime.orphanSockets()
	if err != nil {
		m.log.Error("children of the other version cannot be found", zap.Error(err))
		done(0)
		return
	}
	names = slices.DeleteFunc(names, func(name string) bool { return own[name] })
	m.recalling = true
	go func() {
		found, lost := m.runtime.call(names, m.runtime.secret, m.o.Version, adoptBound, m.sink.write)
		if !m.do(func() {
			m.recalling = false
			done(m.takeHome(why, found, lost))
			m.settle()
		}) {
			for _, o := range found {
				o.letGo()
			}
		}
	}()
}

// takeHome makes lives of those that were found, and says how many have not answered.
func (m *master) takeHome(why string, found []*orphan, lost []missed) (silent int) {
	if len(lost) > 0 {
		go m.runtime.sweep(lost, m.done)
	}
	for _, l := range lost {
		// Among them are those that have never accepted: they decline, and end by themselves.
		m.log.Info("a child of the other version is not taken over", zap.Int("child", l.index), zap.String("socket", l.socket), zap.Error(l.err))
		if errors.Is(l.err, errNoAnswer) {
			silent++
		}
	}
	if m.failure != "" { // the start of this master has come to nothing: they wait for another one
		for _, o := range found {
			m.succession.disown(o.pid)
			o.letGo()
		}
		return silent
	}
	found = slices.DeleteFunc(found, func(o *orphan) bool {
		err := m.shards.adopt(o)
		if err != nil {
			m.log.Error("a child of the other version cannot be taken over", zap.Int("child", o.index), zap.Error(err))
			o.letGo()
		}
		return err != nil
	})
	m.adoptValues(found)
	for _, o := range found {
		m.enterRecalled(o)
	}
	if len(found) > 0 {
		m.log.Warn("children of the other version are taken over, and drain", zap.Int("children", len(found)), zap.String("reason", why))
	}
	m.dismissRecalled()
	return silent
}

// enterRecalled makes a life of an orphan that has no place here.
func (m *master) enterRecalled(o *orphan) {
	m.succession.disown(o.pid) // its life comes with it
	accepting := o.said.Accepting
	c := m.lifeOf(o, &slot{index: o.index})
	c.misfit = recalled
	m.enterLife(c, o)
	if c.state == Serving && !accepting && m.phase == starting { // nobody else does yet
		c.resumes++
		c.proc.Send(&control.Accept{})
		m.owes(c)
	}
}

// dismissRecalled sends those away that have no place here, as soon as others can take their connections.
func (m *master) dismissRecalled() {
	for c := range m.lives {
		switch {
		case c.misfit != recalled || c.state != Serving || c.asked:
		case m.phase == serving:
			m.dismiss(c)
		case m.phase == stopping:
			m.drain(c, m.config.DrainTimeout, m.config.DrainTimeout+m.bounds.drained)
		}
	}
}
