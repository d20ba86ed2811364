package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
)

// Raw SQL is served in the shape of rqlite's HTTP API, so that its clients work (https://rqlite.io/docs/api/api/). A request passes through
//
//  1. admission: method, coding and the form of the content, what its parameters ask for, and bounds of number and length (raw_request.go);
//  2. the engine: reads one after the other, each with its rows as they come; writes as one batch;
//  3. the answer, one JSON document that is built in pieces (raw_answer.go, raw_value.go).
//
// It differs from rqlite where that would hide something from the client:
//
//   - one string holds one statement, and content behind the array of statements is refused;
//   - an error has a code beside it; 503 always has that status, with Retry-After, and 502 where nobody knows whether it has been done;
//   - a transaction on /db/request ends at any error, also at a statement that cannot be compiled;
//   - a queued write is durable when it is answered, and its errors are told;
//   - blobs are blobs wherever they stand, also in a column of text or of an expression; text that is not UTF-8 is never changed in silence;
//   - an integer beyond 64 bits is refused, not rounded; a date that cannot be read and a boolean that is neither 0 nor 1 stay what they are.

// rawEndpoint is the last part of the path.
const (
	rawQuery   = "query"
	rawExecute = "execute"
	rawRequest = "request"
)

// rawReadings is how often the statements of a transaction that reads are run, so that all have seen the same content.
const rawReadings = 8

// errRawMoved: the database was written to between two statements of a transaction that reads.
var errRawMoved = engine.Errorf(engine.CodeBusy,
	"the database is written to faster than the statements of this transaction can be read: ask again, or without transaction")

// A rawExchange is one request with its answer.
type rawExchange struct {
	service  *service
	w        *web.Response
	database *database
	policy   *engine.Policy
	limits   engine.Limits
	until    time.Time // the statements that read together have Limits.Timeout, as those of a batch have; zero: for ever
	ctx      context.Context
	options  rawOptions
	list     []engine.Statement
	answer   rawAnswer
	wrote    bool // something of this request is durable, so that it cannot be refused as a whole any more
}

// serveRaw answers a request for raw SQL. who has been admitted by the caller. Without a role nothing is run: its policy is what bounds
// the SQL. It needs a worker: it waits for the database, and for a client that is slow to read.
func (s *service) serveRaw(w *web.Response, r *web.Request, d *database, endpoint string, who *role) {
	x := rawExchange{service: s, w: w, database: d, ctx: r.Context(), answer: rawAnswer{w: w, start: time.Now()}}
	x.options.problem = rawWantsProblem(r)
	if who == nil || who.policy == nil {
		x.refuse(engine.Errorf(engine.CodeDenied, "raw SQL is for the roles of raw_access only"), -1)
		return
	}
	x.policy = who.policy
	allow, e := x.admit(r, endpoint)
	if allow != "" {
		w.Header().Set("Allow", allow)
	}
	if e != nil {
		x.refuse(e, -1)
		return
	}
	if allow != "" { // OPTIONS
		w.SetStatus(204)
		return
	}
	if x.limits = x.bounds(); x.limits.Timeout > 0 {
		x.until = x.answer.start.Add(x.limits.Timeout)
	}
	x.answer.options, x.answer.reading = &x.options, endpoint == rawQuery
	switch {
	case endpoint == rawExecute:
		x.execute()
	case endpoint == rawQuery || !x.mayWrite():
		x.query(endpoint)
	default:
		x.request()
	}
}

// mayWrite reports whether the request's SQL may change anything at all.
func (x *rawExchange) mayWrite() bool { return x.database.raw.write && x.policy.Writes() }

// bounds returns the limits of one statement: those of raw SQL, those of the database where they have none, and the client's shorter time.
func (x *rawExchange) bounds() engine.Limits {
	l, general := x.database.raw.limits, x.database.limits
	if l.Timeout == 0 {
		l.Timeout = general.Timeout
	}
	if l.MaxRows == 0 {
		l.MaxRows = general.MaxRows
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = general.MaxBytes
	}
	if t := x.options.dbTimeout; t > 0 && (l.Timeout == 0 || t < l.Timeout) {
		l.Timeout = t
	}
	return l
}

// query runs statements that read, one after the other. In a transaction all of them see the same content: they are run again when it has
// changed between them, as long as nothing of the answer has left.
func (x *rawExchange) query(endpoint string) {
	together := x.options.transaction && len(x.list) > 1
	if together && x.database.path == "" {
		x.refuse(engine.Errorf(engine.CodeRequest, "a cluster reads statements one by one here: ask without transaction"), -1)
		return
	}
	for reading := 1; ; reading++ {
		x.answer.begin()
		moved, done := x.readAll(endpoint, together, reading == rawReadings)
		if done {
			return
		}
		if !moved {
			break
		}
		if err := x.ctx.Err(); err != nil {
			return // the client has gone
		}
	}
	x.answer.end(0)
}

// readAll runs the statements once. moved: they have not seen the same content, and nothing has left, so that they can be run again, unless
// this is the last time. done: nothing is to be added to the answer.
func (x *rawExchange) readAll(endpoint string, together, last bool) (moved, done bool) {
	var snapshot *engine.Tag
	for i := range x.list {
		if x.list[i].SQL == "" {
			continue
		}
		started := time.Now()
		rows, err := x.start(&x.list[i])
		if err == nil && together {
			tag, ok := rows.Tag()
			if !ok || snapshot != nil && *snapshot != tag {
				rows.Close()
				if !last && !x.answer.sent {
					return true, false
				}
				err = errRawMoved
			}
			snapshot = &tag
		}
		if err != nil {
			if x.failed(x.readError(err, endpoint), i) {
				return false, true
			}
			continue
		}
		if x.stream(rows, started, i) {
			return false, true
		}
	}
	return false, false
}

// start starts statement s, which reads.
func (x *rawExchange) start(s *engine.Statement) (engine.Rows, error) {
	l := x.limits
	if !x.until.IsZero() {
		if l.Timeout = time.Until(x.until); l.Timeout <= 0 {
			return nil, engine.Errorf(engine.CodeTimeout, "the statements together took longer than they may")
		}
	}
	return x.database.engine.Query(x.ctx, &engine.Query{Statement: *s, Policy: x.policy, Limits: l, Level: x.options.level})
}

// stream writes what rows have. done: there is nothing to add to the answer.
func (x *rawExchange) stream(rows engine.Rows, started time.Time, statement int) (done bool) {
	defer rows.Close()
	err := x.answer.rows(rows, started)
	return err != nil && x.failed(engine.ErrorOf(err), statement)
}

// readError gives a statement that writes where only reading is done the words that rqlite has for it.
func (x *rawExchange) readError(err error, endpoint string) *engine.Error {
	e := engine.ErrorOf(err)
	if e.Code != engine.CodeNotReadOnly {
		return e
	}
	said := *e
	said.Message = "attempt to change database via query operation"
	if endpoint == rawRequest {
		said.Code, said.Message = engine.CodeDenied, "only reading is allowed here"
	}
	return &said
}

// failed tells of the error of a statement: in its result, or in place of the whole answer. done: the latter, or the client has gone.
func (x *rawExchange) failed(e *engine.Error, statement int) (done bool) {
	if x.answer.gone() {
		return true
	}
	x.log(e)
	switch {
	case x.answer.sent:
	case x.whole(e) && !x.wrote:
		x.refuse(e, statement)
		return true
	case x.options.problem:
		x.answer.held = true
		x.answer.fail(e)
		x.refuseWith(e, statement, x.answer.list())
		return true
	}
	x.answer.fail(e)
	return x.answer.gone()
}

// whole reports whether e, if it can, takes the place of the whole answer.
func (x *rawExchange) whole(e *engine.Error) bool { return x.options.problem || rawOutage(e) }

// rawOutage reports whether an error has its real status whatever the client wants: nothing was done, or nobody knows.
func rawOutage(e *engine.Error) bool { return e.Code.Status() == 503 || e.Code == engine.CodeUnknown }

// execute writes.
func (x *rawExchange) execute() {
	if !x.mayWrite() {
		x.refuse(engine.Errorf(engine.CodeDenied, "writing is not allowed here"), -1)
		return
	}
	list := x.list[:0:0]
	places := make([]int, 0, len(x.list))
	for i := range x.list {
		if x.list[i].SQL != "" {
			list, places = append(list, x.list[i]), append(places, i)
		}
	}
	x.answer.begin()
	if len(list) > 0 {
		// In the form of rqlite, /db/execute knows no objects of rows.
		x.options.associative, x.answer.held = false, x.options.queue
		if x.write(list, places, x.options.transaction) {
			return
		}
	}
	if x.options.queue && !x.answer.failures {
		// What was queued is done and durable: its number is the time, which nothing has to wait for.
		x.answer.begin()
		x.answer.end(time.Now().UnixNano())
		return
	}
	x.answer.end(0)
}

// write runs statements as one batch and tells of its outcomes. places are where the statements stand in the request. done: there is
// nothing to add to the answer.
func (x *rawExchange) write(list []engine.Statement, places []int, atomic bool) (done bool) {
	outcomes, err := x.database.engine.Execute(x.ctx, &engine.Batch{Statements: list, Policy: x.policy, Atomic: atomic,
		Limits: x.limits, Wait: x.options.wait})
	undone := err != nil
	if undone {
		e := engine.ErrorOf(err)
		if last := len(outcomes) - 1; last < 0 || outcomes[last].Err == nil || rawOutage(e) {
			return x.notDone(e, places)
		}
	}
	x.wrote = x.wrote || !undone
	if x.options.problem && !x.answer.sent {
		for i := range outcomes {
			if outcomes[i].Err != nil {
				x.outcomesProblem(outcomes, i, places, undone)
				return true
			}
		}
	}
	for i := range outcomes {
		x.outcome(&outcomes[i])
	}
	return x.answer.gone()
}

// notDone tells that nothing of a batch has been done.
func (x *rawExchange) notDone(e *engine.Error, places []int) (done bool) {
	x.log(e)
	if x.answer.gone() {
		return true
	}
	switch {
	case x.wrote || x.answer.sent:
	case x.whole(e):
		x.refuse(e, -1)
		return true
	case x.answer.results == 0:
		x.answer.failWhole(e)
		x.answer.end(0)
		return true
	}
	for _, place := range places {
		if x.failed(e, place) {
			return true
		}
	}
	return false
}

// outcome writes the result of a statement of a batch.
func (x *rawExchange) outcome(o *engine.Outcome) {
	switch {
	case o.Err != nil:
		e := engine.ErrorOf(o.Err)
		x.log(e)
		x.answer.fail(e)
	case len(o.Columns) > 0:
		if err := x.answer.collected(o); err != nil {
			x.answer.fail(engine.ErrorOf(err))
		}
	default:
		x.answer.written(o)
	}
}

// outcomesProblem answers a batch of which statement failed. What the others have done is told beside the error, unless it was undone.
func (x *rawExchange) outcomesProblem(outcomes []engine.Outcome, failed int, places []int, undone bool) {
	e := engine.ErrorOf(outcomes[failed].Err)
	x.log(e)
	if undone {
		x.refuse(e, places[failed])
		return
	}
	x.answer.held = true
	for i := range outcomes {
		x.outcome(&outcomes[i])
	}
	x.refuseWith(e, places[failed], x.answer.list())
}

// request runs statements that read and statements that write, in their order. In a transaction that writes all of them belong to one
// batch. Else those that read are read as ever, after the writes before them, and only neighbours that write share a batch.
func (x *rawExchange) request() {
	writes := make([]bool, len(x.list))
	wrong := make([]error, len(x.list))
	oneWrites := false
	for i := range x.list {
		if x.list[i].SQL == "" {
			continue
		}
		info, err := x.database.engine.Inspect(x.ctx, x.policy, x.list[i].SQL)
		if err != nil {
			if e := engine.ErrorOf(err); rawOutage(e) {
				x.log(e)
				x.refuse(e, i)
				return
			}
			wrong[i] = err
			continue
		}
		writes[i] = !info.ReadOnly
		oneWrites = oneWrites || writes[i]
	}
	if !oneWrites {
		x.query(rawQuery)
		return
	}
	if x.options.transaction {
		x.together(wrong)
		return
	}
	x.answer.begin()
	for i := 0; i < len(x.list); {
		next, done := x.turn(i, writes, wrong)
		if done {
			return
		}
		i = next
	}
	x.answer.end(0)
}

// together runs all statements as one transaction. One that cannot be compiled keeps it from beginning.
func (x *rawExchange) together(wrong []error) {
	var list []engine.Statement
	var places []int
	x.answer.begin()
	for i, err := range wrong {
		if err != nil {
			if !x.failed(engine.ErrorOf(err), i) {
				x.answer.end(0)
			}
			return
		}
		if x.list[i].SQL != "" {
			list, places = append(list, x.list[i]), append(places, i)
		}
	}
	if !x.write(list, places, true) {
		x.answer.end(0)
	}
}

// turn runs statement i, with those after it if all of them write, and returns where to go on.
func (x *rawExchange) turn(i int, writes []bool, wrong []error) (next int, done bool) {
	switch {
	case x.list[i].SQL == "":
		return i + 1, false
	case wrong[i] != nil:
		return i + 1, x.failed(engine.ErrorOf(wrong[i]), i)
	case !writes[i]:
		started := time.Now()
		rows, err := x.start(&x.list[i])
		if err != nil {
			return i + 1, x.failed(engine.ErrorOf(err), i)
		}
		return i + 1, x.stream(rows, started, i)
	}
	next = i
	var places []int
	for next < len(x.list) && writes[next] {
		places = append(places, next)
		next++
	}
	return next, x.write(x.list[i:next], places, false)
}

// log writes to the server's log what the client is not told.
func (x *rawExchange) log(e *engine.Error) {
	if e.Code == engine.CodeInternal && e.Err != nil && !errors.Is(e.Err, context.Canceled) {
		x.service.log("raw SQL has failed", e.Err)
	}
}
