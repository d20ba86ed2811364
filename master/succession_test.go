package master

import (
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/netcore/control"
)

// recorded are the messages of a good upgrade, each before and after its delivery.
func recorded(t *testing.T, children int) (steps []relayStep) {
	l, first := newLineage(t, children)
	var mu sync.Mutex
	l.watch(func(s relayStep) {
		mu.Lock()
		defer mu.Unlock()
		if s.kind != control.KindLeaving { // which the clock says
			steps = append(steps, s)
		}
	})
	l.upgraded(first, children)
	mu.Lock()
	defer mu.Unlock()
	return steps
}

// Either of two masters may die before or after any message: one is left that serves, with children that all accept, and can be upgraded.
func TestDeathAtEveryMessage(t *testing.T) {
	for _, step := range recorded(t, 2) {
		if step.up && !step.after && step.kind != control.KindClaim {
			continue // that is after the message before
		}
		t.Run("successor dies "+step.String(), func(t *testing.T) {
			t.Parallel()
			l, first := newLineage(t, 2)
			a, victim := l.upgradeUntil(first, step, func(s relayStep) *reign { return l.latest() })
			select {
			case <-victim.ready:
				l.afterSuccessor(first, victim)
			default:
				if outcome := l.ended(a); outcome.Done || outcome.Stage != control.StageFailed || outcome.Reason == "" {
					t.Fatalf("%+v\n%s", outcome, a)
				}
				l.settled(first, 2)
				l.counted(first, 2)
				next, _ := l.upgraded(first, 2)
				l.counted(next, 4)
			}
		})
	}
	for _, step := range recorded(t, 1) {
		if !step.up && !step.after {
			continue // likewise
		}
		t.Run("predecessor dies "+step.String(), func(t *testing.T) {
			t.Parallel()
			l, first := newLineage(t, 1)
			l.upgradeUntil(first, step, func(s relayStep) *reign { return first })
			l.afterPredecessor(first)
		})
	}
}

// upgradeUntil upgrades up to a step, at which one of the two dies.
func (l *lineage) upgradeUntil(r *reign, at relayStep, who func(relayStep) *reign) (*attempt, *reign) {
	l.t.Helper()
	var victim *reign
	reached := make(chan struct{})
	l.watch(func(s relayStep) {
		if s.up == at.up && s.number == at.number && s.after == at.after && s.kind == at.kind {
			victim = who(s)
			victim.dies()
			close(reached)
		}
	})
	a := r.asks(UpgradeRequest{})
	select {
	case <-reached:
	case <-time.After(patience):
		l.t.Fatalf("there was no %s:\n%s", at, a)
	}
	<-victim.gone
	l.watch(nil)
	return a, victim
}

// afterPredecessor: the successor is the master, or has not got far enough; then the children of the predecessor go on, and any start finds
// them.
func (l *lineage) afterPredecessor(first *reign) {
	l.t.Helper()
	next := l.latest()
	l.await("the successor serves or has given up", func() bool {
		select {
		case <-next.gone:
			return true
		default:
			return next.is(func(m *master) bool { return m.phase == serving })
		}
	})
	select {
	case <-next.gone:
		if next.code != exitRefused {
			l.t.Errorf("exit code %d", next.code)
		}
		for _, c := range l.lives(first) {
			if !c.serving() {
				l.t.Errorf("%s does not accept", c)
			}
		}
		next = l.first()
	default:
	}
	l.settled(next, 1)
	l.counted(next, 2)
	last, _ := l.upgraded(next, 1)
	l.counted(last, 3)
}

// afterSuccessor: it has died as the master, and its children are the orphans of one.
func (l *lineage) afterSuccessor(first, second *reign) {
	l.t.Helper()
	<-first.gone
	if first.code != exitOK {
		l.t.Errorf("exit code %d", first.code)
	}
	l.await("the children of the first have gone", func() bool { return len(l.lives(first)) == 0 })
	for _, c := range l.lives(second) {
		if !c.serving() {
			l.t.Errorf("%s does not accept", c)
		}
	}
	next := l.first()
	l.settled(next, 2)
	l.upgraded(next, 2)
}

// counted holds the sums against the lives that there were: each has counted ten exchanges. Those of a master that has given up may be lost.
func (l *lineage) counted(r *reign, atLeast int) {
	l.t.Helper()
	l.mu.Lock()
	lives := len(l.children)
	l.mu.Unlock()
	var n uint64
	r.do(func() { n = r.m.totals().Finished })
	if n < uint64(10*atLeast) || n > uint64(10*lives) {
		l.t.Errorf("%d exchanges of %d lives, of which %d cannot be lost", n, lives, atLeast)
	}
}
