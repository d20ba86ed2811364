package rqlite

import (
	"context"
	"errors"
	"net/http"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Execute writes. What it wrote is in the log of most nodes when it returns.
//
// An Atomic batch of several statements may have no RETURNING: rqlite goes on when such a statement fails, and commits the others. A batch of raw
// SQL that is not Atomic is sent statement by statement, for each needs its guard. LastInsertID is 0 but for an INSERT, and for one with
// RETURNING, where RowsAffected is the number of its rows. Limits.Timeout is not the cluster's: a statement of the log that one node ended and
// another did not would make them differ; and what passes the Limits of the batch's rows and bytes has been written, as its error says: a RETURNING,
// and a transaction of which a SELECT passes them. Batch.Wait says nothing here.
func (c *Cluster) Execute(ctx context.Context, b *engine.Batch) ([]engine.Outcome, error) {
	if len(b.Statements) == 0 {
		return nil, engine.Errorf(engine.CodeRequest, "there is no statement")
	}
	h := &held{limits: b.Limits, several: len(b.Statements) > 1}
	if b.Atomic || len(b.Statements) == 1 {
		return c.together(ctx, b, h)
	}
	if outcomes, done, err := c.apart(ctx, b); done {
		return outcomes, err
	}
	outcomes := make([]engine.Outcome, 0, len(b.Statements))
	for i := range b.Statements {
		one := *b
		one.Statements, one.Atomic = b.Statements[i:i+1], true
		out, err := c.together(ctx, &one, h)
		if err == nil {
			outcomes = append(outcomes, out...)
			continue
		}
		e := engine.ErrorOf(err)
		outage := e.Code == engine.CodeUnavailable || e.Code == engine.CodeUnknown || e.Code == engine.CodeCancelled
		if outage && i == 0 {
			return nil, e
		}
		outcomes = append(outcomes, engine.Outcome{Err: e})
		if outage {
			for range b.Statements[i+1:] {
				outcomes = append(outcomes, engine.Outcome{Err: unavailable("the statements before could not be done", e)})
			}
			break
		}
	}
	return outcomes, nil
}

// held is what the outcomes of a batch hold together. A statement that fails is not counted.
type held struct {
	limits      engine.Limits
	several     bool // statements
	rows, bytes int64
}

// add counts a row, and says which limit is passed.
func (h *held) add(size int64) *engine.Error {
	h.rows++
	h.bytes += size
	all := "the result has"
	if h.several {
		all = "the results of the batch together have"
	}
	switch {
	case h.limits.MaxRows > 0 && h.rows > h.limits.MaxRows:
		return engine.Errorf(engine.CodeTooManyRows, "%s more than %d rows", all, h.limits.MaxRows)
	case h.limits.MaxBytes > 0 && h.bytes > h.limits.MaxBytes:
		return engine.Errorf(engine.CodeTooManyBytes, "%s more than %d bytes", all, h.limits.MaxBytes)
	}
	return nil
}

// compileAll makes plans of statements on one copy of the schema. failed is the statement that err is about.
func (c *Cluster) compileAll(ctx context.Context, b *engine.Batch) (s *schema, plans []*plan, failed int, err error) {
	for round := 0; round < rounds; round++ {
		plans = plans[:0]
		same := true
		for i := range b.Statements {
			sql := b.Statements[i].SQL
			now, p, err := c.compile(ctx, b.Policy, sql, -1)
			if err == nil && !p.info.ReadOnly && (b.Policy == nil || !b.Policy.Vetted) {
				err = checkSteady(sql)
			}
			if err != nil {
				return nil, nil, i, err
			}
			same = same && (i == 0 || now == s)
			s, plans = now, append(plans, p)
		}
		if same {
			return s, plans, 0, nil
		}
	}
	return nil, nil, 0, unavailable("the cluster's schema is being changed", errGuard)
}

// together runs a batch, or a statement of one, as a transaction. h is what the statements before hold.
func (c *Cluster) together(ctx context.Context, b *engine.Batch, h *held) ([]engine.Outcome, error) {
	for range rounds {
		s, plans, failed, err := c.compileAll(ctx, b)
		if err != nil {
			outcomes := make([]engine.Outcome, failed, failed+1)
			return append(outcomes, engine.Outcome{Err: engine.ErrorOf(err)}), err
		}
		if len(plans) == 1 && plans[0].info.ReadOnly {
			return c.readOutcome(ctx, b, h)
		}
		outcomes, err := c.transact(ctx, s, b, plans, h)
		if !errors.Is(err, errGuard) {
			return outcomes, err
		}
		if _, err := c.renew(ctx, s, ""); err != nil {
			return nil, err
		}
	}
	return nil, unavailable("the cluster's schema is being changed", errGuard)
}

// readOutcome runs the only statement of a batch, which reads.
func (c *Cluster) readOutcome(ctx context.Context, b *engine.Batch, h *held) ([]engine.Outcome, error) {
	r, err := c.Query(ctx, &engine.Query{Statement: b.Statements[0], Policy: b.Policy, Limits: b.Limits})
	if err != nil {
		return []engine.Outcome{{Err: err, Reads: true}}, err
	}
	defer r.Close()
	out := engine.Outcome{Columns: r.Columns(), Reads: true}
	now := *h
	for r.Next() {
		row := make([]engine.Value, len(out.Columns))
		var size int64
		for i := range row {
			row[i] = r.Value(i).Clone()
			size += sizeOf(row[i])
		}
		if err := now.add(size); err != nil {
			return []engine.Outcome{{Err: err, Reads: true}}, err
		}
		out.Rows = append(out.Rows, row)
	}
	if err := r.Err(); err != nil {
		return []engine.Outcome{{Err: err, Reads: true}}, err
	}
	*h = now
	return []engine.Outcome{out}, nil
}

// A form is how a batch is sent.
type form struct {
	mixed, returning, raw bool
	transaction           bool
	// guarded: the first statement fails, and ends the transaction, if the schema is another.
	guarded bool
	// closing: the last statement shows by its answer that the transaction was not ended before it.
	closing bool
}

func formOf(b *engine.Batch, plans []*plan) (form, error) {
	f := form{raw: b.Policy == nil || !b.Policy.Vetted}
	for _, p := range plans {
		f.mixed = f.mixed || p.info.ReadOnly
		f.returning = f.returning || p.returning
	}
	if f.returning && len(plans) > 1 {
		return f, engine.Errorf(engine.CodeSQL, "a statement with RETURNING must be alone in a transaction of a cluster")
	}
	f.guarded = f.raw || f.mixed
	f.closing = f.mixed
	f.transaction = f.guarded || len(plans) > 1
	return f, nil
}

// path is where a form is sent. rqlite writes a statement anew to replace random() and the present time, but raw SQL stays as it was compiled
// (checkSteady); only /db/request has the rows of statements that read.
func (f form) path() string {
	path := "/db/execute?timings"
	if f.mixed {
		path = "/db/request?timings&noparse"
	}
	switch {
	case f.mixed:
	case f.raw && f.returning:
		path += "&norwrandom&norwtime"
	case f.raw:
		path += "&noparse"
	}
	if f.transaction {
		path += "&transaction"
	}
	return path
}

// transact sends a transaction. An error that errors.Is errGuard says that nothing was run.
func (c *Cluster) transact(ctx context.Context, s *schema, b *engine.Batch, plans []*plan, h *held) ([]engine.Outcome, error) {
	f, err := formOf(b, plans)
	if err != nil {
		return nil, err
	}
	body := []byte{'['}
	if f.guarded {
		// abs() of the smallest integer is an error; of the next one it is none.
		body, err = appendStatement(body, "SELECT abs(-9223372036854775807 - ("+guardOf(guardTables(b.Policy, plans[0]))+"<>?1))",
			[]engine.Value{engine.TextOf(guardText(s.objects, guardTables(b.Policy, plans[0])))})
		if err != nil {
			return nil, err
		}
		body = append(body, ',')
	}
	for i, p := range plans {
		if body, err = appendPlan(body, &b.Statements[i], p, b.Limits); err != nil {
			outcomes := make([]engine.Outcome, i, i+1)
			return append(outcomes, engine.Outcome{Err: err}), err
		}
		body = append(body, ',')
	}
	if f.closing {
		body = append(body, `["SELECT 1"],`...)
	}
	body[len(body)-1] = ']'
	w := &written{s: s, plans: plans, form: f, before: *h}
	if err := c.do(ctx, &call{path: f.path(), kind: jsonType, body: body, write: true, repeat: b.Idempotent}, w.accept); err != nil {
		return nil, err
	}
	outcomes, err := w.transaction(c)
	if err == nil {
		*h = w.held
	}
	return outcomes, err
}

func appendPlan(body []byte, st *engine.Statement, p *plan, l engine.Limits) ([]byte, error) {
	values, err := arrange(st.Args, p.info.Parameters)
	if err != nil {
		return nil, err
	}
	sql := p.sql
	if p.info.ReadOnly {
		sql = limited(sql, l)
	}
	return appendStatement(body, sql, values)
}

// apart sends a vetted batch whose statements stand each for itself, and have no rows, in one call. done is false if the batch is another.
func (c *Cluster) apart(ctx context.Context, b *engine.Batch) (outcomes []engine.Outcome, done bool, err error) {
	if b.Policy == nil || !b.Policy.Vetted {
		return nil, false, nil
	}
	s, plans, _, err := c.compileAll(ctx, b)
	if err != nil {
		return nil, false, nil // one by one, so that the others are done
	}
	body := []byte{'['}
	for i, p := range plans {
		if p.info.ReadOnly || p.returning {
			return nil, false, nil
		}
		if body, err = appendPlan(body, &b.Statements[i], p, b.Limits); err != nil {
			return nil, false, nil
		}
		body = append(body, ',')
	}
	body[len(body)-1] = ']'
	w := &written{s: s, plans: plans}
	if err := c.do(ctx, &call{path: "/db/execute?timings", kind: jsonType, body: body, write: true, repeat: b.Idempotent}, w.accept); err != nil {
		return nil, true, err
	}
	if len(w.outcomes) != len(plans) {
		return nil, true, unknownOutcome(engine.Errorf(engine.CodeInternal, "%d results of %d statements", len(w.outcomes), len(plans)))
	}
	return w.outcomes, true, nil
}

// written is the answer to statements that write, which is read whole.
type written struct {
	s      *schema
	plans  []*plan
	form   form
	before held // by the statements before

	held     held
	passed   *engine.Error // the limit that a statement of a transaction passes which reads; its outcome has no error
	passedAt int           // its number
	outcomes []engine.Outcome
	guard    bool // the guard has ended the transaction
	ended    bool // the closing statement has an answer
}

func (w *written) accept(response *http.Response) *failure {
	w.held, w.passed = w.before, nil
	w.outcomes, w.guard, w.ended = nil, false, false
	a := newAnswer(response.Body, maxValue)
	if err := w.read(a); err != nil {
		return readFailure(err)
	}
	if a.failure != "" {
		f := failureOf(a.failure)
		w.s.constraint(f.err)
		return f
	}
	_ = response.Body.Close() // it was only read
	return nil
}

func (w *written) read(a *answer) error {
	if err := a.open(); err != nil {
		return err
	}
	at := 0
	if w.form.guarded {
		at = -1
	}
	for ; ; at++ {
		var r result
		more, err := a.begin(&r)
		if err != nil || !more {
			return err
		}
		var out engine.Outcome
		switch {
		case at == len(w.plans) && w.form.closing:
			w.ended = true
			err = skipRows(a, &r)
		case at >= len(w.plans):
			err = syntax("there are more results than statements")
		case at < 0:
			err = skipRows(a, &r)
			w.guard = r.err != ""
		default:
			out, err = w.outcome(a, &r, w.plans[at])
			w.outcomes = append(w.outcomes, out)
		}
		if err != nil {
			return err
		}
	}
}

func skipRows(a *answer, r *result) error {
	for {
		if more, err := a.row(r); err != nil || !more {
			return err
		}
	}
}

// outcome reads one result.
func (w *written) outcome(a *answer, r *result, p *plan) (engine.Outcome, error) {
	out := engine.Outcome{Reads: p.info.ReadOnly}
	before := w.held
	var passed *engine.Error
	for {
		more, err := a.row(r)
		if err != nil {
			return out, err
		}
		if !more {
			break
		}
		if passed != nil {
			continue
		}
		row, size, err := a.rowOf(make([]engine.Value, 0, len(p.info.Columns)), len(p.info.Columns))
		if err != nil {
			return out, err
		}
		for i := range row {
			row[i] = row[i].Clone()
		}
		if passed = w.held.add(size); passed == nil {
			out.Rows = append(out.Rows, row)
		}
	}
	out.Elapsed = r.elapsed
	if r.err != "" {
		e := sqlError(r.err)
		w.s.constraint(e)
		w.held = before
		return engine.Outcome{Err: e, Reads: out.Reads, Elapsed: out.Elapsed}, nil
	}
	if passed != nil {
		w.held, out.Rows = before, nil
		if p.returning {
			passed.Message += "; the statement has been run"
			out.Err = passed
		} else if w.passed == nil {
			w.passed, w.passedAt = passed, len(w.outcomes)
		}
		return out, nil
	}
	if len(p.info.Columns) > 0 {
		out.Columns = p.info.Columns
	}
	switch {
	case p.returning && !r.rows:
		// rqlite has not seen the RETURNING (command/sql/processor.go): its parser knows less than SQLite's.
		out.Err = engine.Errorf(engine.CodeInternal, "the statement has been run, but the cluster does not tell the rows of its RETURNING")
	case p.returning:
		out.RowsAffected = int64(len(out.Rows))
	case !out.Reads:
		out.RowsAffected = r.affected
		if p.inserts && r.affected > 0 {
			out.LastInsertID = r.lastID
		}
	}
	return out, nil
}

// transaction is what a transaction has done.
func (w *written) transaction(c *Cluster) ([]engine.Outcome, error) {
	if w.guard {
		return nil, &engine.Error{Code: engine.CodeUnavailable, Message: errGuard.Error(), Offset: -1, RetryAfter: retryAfter, Err: errGuard}
	}
	for i := range w.outcomes {
		err := w.outcomes[i].Err
		if err == nil {
			continue
		}
		if w.ended || i != len(w.outcomes)-1 {
			// rqlite goes on with a transaction if a statement of /db/request cannot even be prepared. Ours compiled here, on the same schema.
			c.log("rqlite: a transaction was committed although a statement of it failed: the cluster's SQLite refuses what this server's accepts", err)
			return nil, unknownOutcome(engine.ErrorOf(err))
		}
		return w.outcomes[:i+1], err
	}
	if len(w.outcomes) != len(w.plans) || w.form.closing != w.ended {
		return nil, unknownOutcome(engine.Errorf(engine.CodeInternal, "%d results of %d statements", len(w.outcomes), len(w.plans)))
	}
	if w.passed != nil {
		for _, p := range w.plans {
			if !p.info.ReadOnly {
				w.passed.Message += "; the statements have been run"
				break
			}
		}
		return append(w.outcomes[:w.passedAt], engine.Outcome{Err: w.passed, Reads: true}), w.passed
	}
	return w.outcomes, nil
}
