package master

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// A reload, all children or none:
//
//  1. a goroutine reads every file once, resolves, and opens the log files; the loop goes on;
//  2. the loop holds the result against what cannot change, binds new addresses, which do not listen yet, and proposes the generation to
//     every child that serves or is about to: prepare;
//  3. each builds it beside the one that it serves, and answers prepared with the digest, or failed;
//  4. all prepared and equal: the new listeners listen, the generation is the master's, and every child is told to commit. Nothing can
//     refuse any more: a child that does not follow is replaced by one that begins with the new generation;
//  5. anything else: abort, and nothing has changed anywhere.
//
// A child in its bring-up does not vote. It begins with the generation that serves, and prepares again if that is another one by the time it
// has committed. When a voter is killed before it has answered, its successor is asked in its place, once; one that ends by its own fault, or
// fails, or does not answer in time refuses for all. One that begins to drain has no vote any more.

// Reload is how a reload ended.
type Reload struct {
	// At is when it was asked for, By what asked: "SIGHUP", or "control socket (uid 0, pid 77)".
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Committed: every child serves Generation. Otherwise nothing has changed, and Reason says why in one line.
	Committed  bool   `json:"committed"`
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason,omitempty"`
	// Diagnostics are those of the configuration, warnings included: "file:line:column: …".
	Diagnostics []string `json:"diagnostics,omitempty"`
	// Changes is what is different from the generation before.
	Changes []configs.Change `json:"changes,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

// reloading is a reload that goes on.
type reloading struct {
	outcome Reload
	number  uint64 // of the generation; 0: not proposed yet
	read    *reading
	sources *os.File
	change  *shardChange
	due     time.Time      // of the reading, then of the vote
	reopen  bool           // log files were reopened since it has begun: what it has read may be the old ones
	decided bool           // it is committed; children are being told
	lost    map[*slot]bool // places whose voter was killed before it had answered: the successor has to vote
	waiting []func(*Reload)
}

// reading is a configuration as it was read from its files.
type reading struct {
	config      *configs.Config
	sources     *configs.Sources
	diagnostics configs.Diagnostics
	logs        *logFiles
	log         *os.File // the server's log file, opened anew; nil: stderr
	err         error
}

// reloadRequest waits for its turn.
type reloadRequest struct {
	by   string
	done func(*Reload)
}

// reload reads the configuration anew and brings all children to it, or none. done, if not nil, is called on the loop with the outcome. A
// reload that is asked for while one goes on, or while another process takes this one's place, comes after it; all that wait for it share
// it. Owner: the loop.
func (m *master) reload(by string, done func(*Reload)) {
	if done == nil {
		done = func(*Reload) {}
	}
	if m.phase == stopping {
		done(&Reload{At: m.now(), By: by, Generation: m.generation, Reason: "the server is stopping"})
		return
	}
	if m.phase == starting || m.reloading != nil || m.beingReplaced() {
		m.reloads = append(m.reloads, reloadRequest{by, done})
		return
	}
	m.startReload([]reloadRequest{{by, done}})
}

func (m *master) startReload(requests []reloadRequest) {
	r := &reloading{outcome: Reload{At: m.now(), By: requests[0].by}, due: m.now().Add(m.bounds.prepare)}
	for _, request := range requests {
		r.waiting = append(r.waiting, request.done)
	}
	m.reloading = r
	m.log.Info("reloading", zap.String("by", r.outcome.By))
	m.tellReloading()
	go func() {
		read := m.read()
		if !m.do(func() { m.propose(r, read); m.settle() }) {
			read.close()
		}
	}()
}

// read reads the configuration and opens its log files. Any goroutine.
func (m *master) read() *reading {
	r := new(reading)
	r.config, r.sources, r.diagnostics = resolve(m.o)
	if r.diagnostics.HasErrors() {
		return r
	}
	if r.logs, r.err = openAccessLogs(r.config.Sites); r.err != nil {
		return r
	}
	if r.config.Log.File != "" {
		if r.log, r.err = openLog(r.config.Log.File); r.err != nil {
			r.err = fmt.Errorf("log: %w", r.err)
		}
	}
	return r
}

// close gives the files of a reading back that nobody uses.
func (r *reading) close() {
	if r == nil {
		return
	}
	if r.logs != nil {
		r.logs.close()
	}
	if r.log != nil {
		_ = r.log.Close()
	}
}

func diagnosticLines(diagnostics configs.Diagnostics) (all []string) {
	for _, d := range diagnostics {
		all = append(all, d.String())
	}
	return all
}

// mistakes begins the objection to a configuration that does not resolve.
const mistakes = "the configuration has mistakes: "

// objection says why a reading cannot be proposed, in one line; "" when it can.
func (m *master) objection(r *reading, changes []configs.Change) string {
	if r.diagnostics.HasErrors() {
		return mistakes + firstError(r.diagnostics)
	}
	if r.err != nil {
		return r.err.Error()
	}
	return configs.RestartOnly(changes)
}

func firstError(diagnostics configs.Diagnostics) string {
	for _, d := range diagnostics {
		if d.Severity == configs.Error {
			return d.String()
		}
	}
	return ""
}

// propose asks the children for their votes, or refuses.
func (m *master) propose(r *reloading, read *reading) {
	if m.reloading != r { // it came too late
		read.close()
		return
	}
	r.read = read
	r.outcome.Diagnostics = diagnosticLines(read.diagnostics)
	if m.phase == stopping {
		m.refuse(r, "the server is stopping")
		return
	}
	if !read.diagnostics.HasErrors() {
		r.outcome.Changes = configs.Diff(m.config, read.config)
	}
	if why := m.objection(read, r.outcome.Changes); why != "" {
		m.refuse(r, why)
		return
	}
	var err error
	if r.change, err = m.shards.change(read.config.Listeners, m.wantedChildren(read.config)); err != nil {
		r.change = nil
		m.refuse(r, strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	if r.sources, err = control.Seal("tined sources", read.sources.Encode()); err != nil {
		m.refuse(r, err.Error())
		return
	}
	m.lastGeneration++
	r.number = m.lastGeneration
	r.due = m.now().Add(m.bounds.prepare)
	for c := range m.lives {
		if c.votes() {
			m.askVote(r, c)
		}
	}
	m.proposeToHouse(r)
	m.weigh()
}

// keeps reports whether an undecided reload needs a listener that leaves.
func (r *reloading) keeps(l *listener) bool {
	return r != nil && r.change != nil && !r.decided && slices.Contains(r.change.next, l)
}

// votes reports whether a life takes part in reloads: it has a generation, and will not leave by itself.
func (c *child) votes() bool {
	return c.state >= Lending && c.state <= Serving && !c.asked && c.misfit == ""
}

func (m *master) askVote(r *reloading, c *child) {
	m.sendGeneration(c, &control.Prepare{
		Generation: r.number,
		Digest:     r.read.config.Digest,
		LogFormat:  m.sink.formatFor(r.read.config.Log, r.read.log),
		Files:      r.read.logs.names,
		Listeners:  r.change.ids(),
	}, r.sources, r.read.logs)
	if !c.due.IsZero() { // its bring-up goes on behind it
		c.due = c.due.Add(m.bounds.prepare)
	}
}

// excuse takes a life that begins to drain out of the vote: it ends with the generation that it serves, and whether it could serve another
// one does not matter any more.
func (m *master) excuse(c *child) {
	r := m.reloading
	if c.housekeeper() || r == nil || r.number == 0 || c.preparing != r.number && c.prepared != r.number {
		return
	}
	c.preparing, c.prepared, c.aborted = 0, 0, r.number
	c.proc.Send(&control.Abort{Generation: r.number})
}

// weigh commits once every voter has prepared.
func (m *master) weigh() {
	r := m.reloading
	if r == nil || r.number == 0 || r.decided {
		return
	}
	waits := false
	for s := range r.lost {
		if c := s.current; !s.retiring && (c == nil || c.prepared != r.number) {
			if c != nil && c.votes() && c.preparing != r.number {
				m.askVote(r, c)
			}
			waits = true
		}
	}
	for c := range m.lives {
		switch {
		case c.votes() && c.prepared != r.number:
			if c.preparing != r.number { // it has come to its shards since the others were asked
				m.askVote(r, c)
			}
			waits = true
		case c.state < Lending && c.slot.faults == 0: // it soon will be one
			waits = true
		case c.state == Ending && (c.preparing == r.number || c.prepared == r.number): // why it ends is not known yet
			waits = true
		}
	}
	if !waits && m.houseAgrees(r.number) {
		m.commitReload(r)
	}
}

// commitReload makes the proposed generation the present one.
func (m *master) commitReload(r *reloading) {
	children := m.wantedChildren(r.read.config) // before it is the present one: that tells a change of the number
	undo, err := r.change.fit(children)
	if err == nil {
		err = r.change.start()
	}
	if err != nil {
		undo()
		m.refuse(r, err.Error())
		return
	}
	r.decided = true
	before := m.config
	m.config, m.generation = r.read.config, r.number
	_ = m.sources.Close()
	m.sources = r.sources
	m.accessLogs.close() // children have their own descriptors
	m.accessLogs = r.read.logs
	m.sink.apply(m.config.Log, r.read.log)
	m.workers, m.level = nil, ""
	if now := accessOf(m.config); now != accessOf(before) {
		if err := m.runtime.give(now); err != nil {
			m.log.Warn("the control socket is not as configured", zap.Error(err))
		}
	}
	for _, err := range m.shards.commit(r.change) {
		m.log.Warn("an option of a listener is not as configured", zap.Error(err))
	}
	for c := range m.lives {
		if c.prepared == r.number {
			c.prepared, c.committing = 0, r.number
			m.owes(c)
			c.proc.Send(&control.Commit{Generation: r.number})
		}
	}
	m.commitToHouse()
	if before.Children != m.config.Children && m.o.Host == nil {
		if err := m.resizeSlots(children); err != nil {
			m.log.Error("the number of children stays as it is", zap.Error(err))
		}
	}
	if r.reopen {
		_ = m.reopenLogs() // it is in the log
	}
	m.finishReload()
}

// fit gives the listeners of a change a shard for each of so many children: the number may have changed since the change was made, and a
// listener that was about to leave has missed it. A shard that is too many would fill up, for nobody accepts from it. After an error
// nothing more listens than before, and undo closes what was opened.
func (c *shardChange) fit(children int) (undo func(), err error) {
	grown := map[*listener]int{}
	undo = func() {
		for l, n := range grown {
			l.closeFrom(n)
		}
	}
	for _, l := range c.next {
		fresh := slices.Contains(c.opened, l)
		if fresh && !l.shared {
			l.closeFrom(max(children, l.units))
		}
		if !fresh && !l.shared && len(l.shards) < children {
			grown[l] = len(l.shards)
		}
		if err := l.bind(children); err != nil {
			return undo, fmt.Errorf("listen %q: %w", l.name, err)
		}
	}
	for l, n := range grown {
		if err := l.listen(n); err != nil {
			return undo, err
		}
	}
	return undo, nil
}

// wantedChildren is the number of children that a configuration asks for. What the operator has set stays until `children` changes.
func (m *master) wantedChildren(c *configs.Config) int {
	switch {
	case m.o.Host != nil:
		return 1
	case c.Children == m.config.Children:
		return m.children()
	case c.Children == 0:
		return usableCores(os.DirFS("/"))
	}
	return c.Children
}

// finishReload ends a reload once every child that was told to commit has said so, or is gone.
func (m *master) finishReload() {
	r := m.reloading
	if r == nil || !r.decided {
		return
	}
	for c := range m.lives {
		if c.committing == r.number && c.state < Ending {
			return
		}
	}
	if c := m.house.slot.current; c != nil && c.committing == r.number && c.state < Ending {
		return
	}
	r.outcome.Committed, r.outcome.Generation = true, r.number
	m.log.Info("reloaded", zap.Uint64("generation", r.number), zap.Int("changes", len(r.outcome.Changes)),
		zap.Duration("after", m.now().Sub(r.outcome.At).Round(time.Millisecond)))
	m.emit(EventReloaded, nil, fmt.Sprintf("generation %d serves: %s", r.number, countChanges(len(r.outcome.Changes))))
	m.endReload(r)
}

func countChanges(n int) string {
	switch n {
	case 0:
		return "nothing has changed"
	case 1:
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

// refuse ends a reload that changes nothing.
func (m *master) refuse(r *reloading, why string) {
	for c := range m.lives {
		if r.number != 0 && (c.preparing == r.number || c.prepared == r.number) && c.state < Ending {
			c.preparing, c.prepared, c.aborted = 0, 0, r.number
			c.proc.Send(&control.Abort{Generation: r.number})
		}
	}
	m.abortInHouse(r.number)
	if r.change != nil {
		r.change.abandon()
	}
	if r.sources != nil {
		_ = r.sources.Close()
	}
	r.read.close()
	r.outcome.Generation, r.outcome.Reason = m.generation, why
	for _, d := range r.outcome.Diagnostics {
		m.log.Error(d)
	}
	m.log.Error("the reload is refused; nothing has changed", zap.String("reason", why), zap.Uint64("generation", m.generation))
	m.emit(EventRefused, nil, why)
	m.endReload(r)
}

func (m *master) endReload(r *reloading) {
	r.outcome.Seconds = m.now().Sub(r.outcome.At).Seconds()
	m.reloading, m.lastReload = nil, &r.outcome
	m.tidyLater()
	m.tellReloaded()
	for _, done := range r.waiting {
		done(&r.outcome)
	}
	m.nextReload()
}

// nextReload begins the reload that others wait for.
func (m *master) nextReload() {
	if requests := m.reloads; len(requests) > 0 && m.reloading == nil && m.phase == serving && !m.beingReplaced() {
		m.reloads = nil
		m.startReload(requests)
	}
}

// hasPrepared takes a child's answer to prepare: in its bring-up, in a vote, or when it is brought to the present generation.
func (m *master) hasPrepared(c *child, e *control.Prepared) {
	if c.preparing != e.Generation || e.Generation == 0 {
		m.stale(c, e, e.Generation)
		return
	}
	c.preparing = 0
	if e.Digest != c.expected {
		m.kill(c, fmt.Sprintf("it resolved another configuration: generation %d, digest %.12s; the master has %.12s", e.Generation, e.Digest, c.expected))
		return
	}
	c.prepared = e.Generation
	if r := m.reloading; r != nil && r.number == e.Generation && !r.decided {
		m.weigh()
		return
	}
	c.prepared, c.committing = 0, e.Generation
	c.proc.Send(&control.Commit{Generation: e.Generation})
	if c.state == Preparing {
		m.enter(c, Committing, m.bounds.answer)
	} else {
		m.owes(c)
	}
}

// hasFailed takes a child's refusal.
func (m *master) hasFailed(c *child, e *control.Failed) {
	if c.preparing != e.Generation || e.Generation == 0 {
		m.stale(c, e, e.Generation)
		return
	}
	c.preparing = 0
	if c.state == Draining { // it ends with what it has
		return
	}
	if r := m.reloading; r != nil && r.number == e.Generation && !r.decided {
		m.refuse(r, fmt.Sprintf("child %d cannot serve it: %s", c.slot.index, e.Diagnostic))
		return
	}
	if c.adopted && c.state == Serving {
		m.refuses(c, e.Diagnostic)
		return
	}
	c.failed = e
	m.kill(c, "it could not prepare")
}

// stale takes an answer to a question that is not asked any more: it crossed an abort. One to a question that was never asked is a fault.
func (m *master) stale(c *child, message control.Message, generation uint64) {
	if generation <= c.generation || generation > c.aborted {
		m.kill(c, fmt.Sprintf("it said %s while %s", message.Kind(), c.state))
	}
}

// hasCommitted takes the answer to commit.
func (m *master) hasCommitted(c *child, e *control.Committed) {
	if c.committing == 0 || c.committing != e.Generation {
		m.kill(c, fmt.Sprintf("it said %s while %s", e.Kind(), c.state))
		return
	}
	c.committing, c.generation = 0, e.Generation
	m.answered(c)
	switch {
	case c.state == Committing && c.generation != m.generation: // another one was committed meanwhile
		m.sendPrepare(c)
		m.enter(c, Preparing, m.bounds.prepare)
	case c.state == Committing:
		m.sendWorkers(c)
		m.sendLogLevel(c)
		m.enter(c, Lending, m.bounds.answer)
		m.weigh()
	default:
		m.align(c)
		m.announce()
	}
	m.finishReload()
}

// align brings a life in service to the present generation if it has another: one that was adopted, or that has missed a commit.
func (m *master) align(c *child) {
	if c.votes() && c.generation != m.generation && c.preparing == 0 && c.committing == 0 && c.prepared == 0 {
		m.sendPrepare(c)
	}
}

// lostVoter follows the end of a life during a reload.
func (m *master) lostVoter(c *child, v verdict, how string) {
	r := m.reloading
	if r == nil || r.number == 0 {
		return
	}
	if !r.decided && v == ownFault && (c.preparing == r.number || c.prepared == r.number) {
		c.preparing, c.prepared = 0, 0
		m.refuse(r, fmt.Sprintf("child %d %s while it prepared", c.slot.index, how))
		return
	}
	if !r.decided && c.preparing == r.number && v == fromOutside {
		if r.lost[c.slot] {
			m.refuse(r, fmt.Sprintf("child %d %s while it prepared, and so did its successor", c.slot.index, how))
			return
		}
		if r.lost == nil {
			r.lost = map[*slot]bool{}
		}
		r.lost[c.slot] = true
	}
	c.preparing, c.prepared, c.committing = 0, 0, 0
	m.weigh()
	m.finishReload()
}

// checkReload refuses a reload whose vote takes too long, and says when that will be.
func (m *master) checkReload(now time.Time) time.Time {
	r := m.reloading
	if r == nil || r.decided {
		return time.Time{}
	}
	if r.due.After(now) {
		return r.due
	}
	if r.read == nil {
		m.refuse(r, fmt.Sprintf("the configuration could not be read within %v: is one of its files on a disk that does not answer, or a pipe?", m.bounds.prepare))
		return time.Time{}
	}
	var late []string
	for c := range m.lives {
		if c.votes() && c.prepared != r.number || c.state < Lending {
			late = append(late, fmt.Sprintf("child %d (%s)", c.slot.index, c.state))
		}
	}
	if !m.houseAgrees(r.number) {
		late = append(late, m.houseStatus().words())
	}
	slices.Sort(late)
	m.refuse(r, fmt.Sprintf("no answer within %v from %s", m.bounds.prepare, strings.Join(late, ", ")))
	return time.Time{}
}

// Plan is what a reload would do.
type Plan struct {
	// From is the generation that serves, To the one that would.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Refused says in one line why a reload would change nothing; "" otherwise.
	Refused     string           `json:"refused,omitempty"`
	Diagnostics []string         `json:"diagnostics,omitempty"`
	Changes     []configs.Change `json:"changes"`
}

// plan reads the configuration anew and compares. done is called on the loop.
func (m *master) plan(done func(*Plan)) {
	go func() {
		r := new(reading)
		r.config, r.sources, r.diagnostics = resolve(m.o)
		m.do(func() {
			p := &Plan{From: m.generation, To: m.lastGeneration + 1, Diagnostics: diagnosticLines(r.diagnostics), Changes: []configs.Change{}}
			if !r.diagnostics.HasErrors() {
				p.Changes = append(p.Changes, configs.Diff(m.config, r.config)...)
			}
			p.Refused = m.objection(r, p.Changes)
			done(p)
		})
	}()
}
