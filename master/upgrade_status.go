package master

import (
	"github.com/tined/tined/netcore/control"
)

// upgradeStatus is the upgrade that is under way, how the last one has ended, and what is left of the version before; nil where there is none.
func (m *master) upgradeStatus() (now, last *Upgrade, before *Predecessor) {
	last = m.lastUpgrade
	if u := m.upgrading; u != nil {
		m.countLeft(u)
		outcome := u.outcome
		outcome.Seconds = m.now().Sub(outcome.At).Seconds()
		now = &outcome
	}
	if s := m.succession; s != nil && s.confirmed {
		now = &Upgrade{At: m.born, Binary: m.o.Executable, From: s.bequest.Version, To: m.o.Version, Stage: control.StageMoving, Seconds: m.now().Sub(m.born).Seconds()}
		p := s.predecessor
		before = &p
	}
	return now, last, before
}
