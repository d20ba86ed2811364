package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// The end of a predecessor: from Ready on its children drain, and give what they have to the successor's, and with the last of them it ends.

// leavingEvery is how often the successor is told what is left here.
const leavingEvery = 200 * time.Millisecond

// depart is the end of this master: the successor's children serve, and what is left here moves there or ends.
func (m *master) depart(u *upgrading) {
	now := m.now()
	u.confirmed, u.outcome.Stage = true, control.StageMoving
	for _, pidfd := range u.offspring {
		_ = pidfd.Close()
	}
	u.offspring = nil
	u.base = m.livingSums()
	m.tellProgress(u, "confirmed: connections move to the new version")
	m.phase = stopping
	m.supervision.close()
	m.supervision = nil
	for _, request := range m.reloads {
		request.done(&Reload{At: now, By: request.by, Generation: m.generation, Reason: UpgradedMeanwhile})
	}
	m.reloads = nil
	m.operator.leave()
	m.shards.bequeathed(u.listeners)
	m.runtime.bequeathed()
	timeout := m.config.DrainTimeout
	m.shardsDue = now.Add(m.bounds.answer)
	for _, s := range m.slots {
		s.due = time.Time{}
	}
	for c := range m.lives {
		m.sendAway(c, timeout)
	}
	if c := m.house.slot.current; c != nil {
		m.drain(c, timeout, timeout+m.bounds.drained)
	}
	m.closeShards()
	m.finish()
}

// sendAway lets a life drain, and give its connections to the successor's children.
func (m *master) sendAway(c *child, timeout time.Duration) {
	u := m.upgrading
	if c.state != Serving && c.state != Admitting && c.state != Draining || u.left {
		m.drainPatiently(c, timeout, timeout/2, timeout+m.bounds.drained)
		return
	}
	giver, taker, err := handoffPair()
	if err != nil {
		m.log.Warn("connections cannot be handed over", append(c.fields(), zap.Error(err))...)
		m.drainPatiently(c, timeout, timeout/2, timeout+m.bounds.drained)
		return
	}
	u.conn.Send(&control.Forward{Child: c.slot.index}, taker)
	m.drainGiving(c, timeout, timeout/2, timeout+m.bounds.drained, u.listeners, giver)
	_ = unix.Close(giver)
	_ = unix.Close(taker)
}

// tellMoved tells those who follow how many connections have moved, when no more do.
func (m *master) tellMoved(u *upgrading) {
	before := u.outcome.Moved
	m.countLeft(u)
	if u.outcome.Moved != before || u.outcome.Moved == u.toldMoved {
		return
	}
	u.toldMoved = u.outcome.Moved
	text := plural(int(u.outcome.Moved), "connection", "connections") + " moved"
	var left, busy int
	for c := range m.lives {
		if c.joined() {
			left, busy = left+c.load(), busy+c.life.Gauge(board.WordInFlight)
		}
	}
	if left > 0 {
		text += fmt.Sprintf("; %s left, %s in flight", plural(left, "connection is", "connections are"), plural(busy, "exchange", "exchanges"))
	}
	m.tellProgress(u, text)
}

// tellLeaving tells the successor what is left.
func (m *master) tellLeaving(u *upgrading) {
	if u.left {
		return
	}
	message := &control.Leaving{}
	for c := range m.lives {
		message.Children++
		if c.joined() {
			message.Connections += c.life.Gauge(board.WordConnections)
			message.InFlight += c.life.Gauge(board.WordInFlight)
		}
		if !c.due.IsZero() {
			message.UntilMillis = max(message.UntilMillis, c.due.UnixMilli())
		}
	}
	if c := m.house.slot.current; c != nil && !c.due.IsZero() {
		message.UntilMillis = max(message.UntilMillis, c.due.UnixMilli())
	}
	u.conn.Send(message)
}

// departed reports whether this master's children leave because another one has taken its place.
func (m *master) departed() bool { return m.upgrading != nil && m.upgrading.confirmed }

// livingSums are the counters of the lives that have not ended.
func (m *master) livingSums() *board.Sums {
	all := new(board.Sums)
	for c := range m.lives {
		if c.joined() {
			all.Merge(c.life.Sums())
		}
	}
	return all
}

// farewell is the last act of a master that another one has taken the place of.
func (m *master) farewell() {
	u := m.upgrading
	if u == nil || !u.confirmed {
		return
	}
	m.countLeft(u)
	u.outcome.Stage, u.outcome.Done = control.StageDone, true
	u.outcome.Seconds = m.now().Sub(u.outcome.At).Seconds()
	outcome := u.outcome
	text := fmt.Sprintf("done: %s moved, %s finished by the version before", plural(int(u.outcome.Moved), "connection", "connections"),
		plural(int(u.outcome.Finished), "exchange", "exchanges"))
	if closed := closedText(u.outcome.ClosedByReason); closed != "" {
		text += ", closed: " + closed
	}
	m.log.Info("upgraded; "+text, zap.String("from", u.outcome.From), zap.String("to", u.outcome.To), zap.Uint64("moved", u.outcome.Moved),
		zap.Uint64("finished", u.outcome.Finished), zap.Any("closed_by_reason", u.outcome.ClosedByReason))
	for _, follow := range u.follow {
		follow(UpgradeProgress{At: m.now(), Text: text, Outcome: &outcome})
	}
	if !u.left {
		u.conn.Send(&control.Progress{Stage: control.StageDone, Text: text})
		encoded, _ := json.Marshal(outcome) // of plain fields
		u.conn.Send(&control.Farewell{Outcome: encoded})
	}
	u.conn.finish(m.bounds.fast)
}

// countLeft brings the outcome up to date: what the children here have done since the upgrade was confirmed.
func (m *master) countLeft(u *upgrading) {
	if u.base == nil {
		return
	}
	all := m.livingSums()
	all.Merge(&u.ended)
	since := all.Since(u.base)
	u.outcome.Finished = since.Of(board.WordFinished)
	u.outcome.ClosedByReason = map[string]uint64{}
	for reason, name := range board.CloseReasons {
		switch n := since.Closed(reason); {
		case n == 0:
		case reason == movedReason:
			u.outcome.Moved = n
		default:
			u.outcome.ClosedByReason[name] = n
		}
	}
	if u.cut > 0 {
		u.outcome.ClosedByReason[closedByKill] = u.cut
	}
}

// closedText is "12 by drain_timeout, 1 by client_gone".
func closedText(byReason map[string]uint64) string {
	var parts []string
	for reason, n := range byReason {
		parts = append(parts, fmt.Sprintf("%d by %s", n, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
