package rqlite

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

const jsonType = "application/json"

// maxValue bounds a value if no limit does: SQLite's own bound is 10^9 bytes, and a blob comes as two characters for each.
const maxValue = 2_000_000_100

// rounds bounds how often a statement is compiled anew because the schema is changed all the time.
const rounds = 5

// errGuard: the schema is not the one that the statement was compiled for. Nothing has been run.
var errGuard = errors.New("the schema has changed")

// Inspect compiles sql on the copy of the schema. Its Columns' types are those of the declarations, as everywhere; the SQLite that compiles is this
// program's, and not the cluster's. The copy may be as old as Options.SchemaAge, unless sql does not compile.
func (c *Cluster) Inspect(ctx context.Context, policy *engine.Policy, sql string) (engine.Info, error) {
	_, p, err := c.compile(ctx, policy, sql, c.schemaAge)
	if err != nil {
		return engine.Info{}, err
	}
	return p.info, nil
}

// compile makes a plan on a copy of the schema. What does not compile, or is denied, is tried on a new copy, unless this one is from within the
// last second: so wrong statements do not become a load on the cluster.
func (c *Cluster) compile(ctx context.Context, policy *engine.Policy, sql string, age time.Duration) (*schema, *plan, error) {
	s, err := c.present(ctx, age)
	for try := 0; err == nil; try++ {
		var p *plan
		if p, err = s.plan(policy, sql); err == nil {
			return s, p, nil
		}
		stale := err == errReplaced
		if code := engine.ErrorOf(err).Code; code == engine.CodeSQL || code == engine.CodeDenied {
			stale = stale || c.known(time.Second) != s
		}
		if try == rounds || !stale {
			break
		}
		old := s
		var failed error
		if s, failed = c.renew(ctx, old, ""); failed != nil {
			return nil, nil, failed
		}
		if s == old {
			break
		}
	}
	if err == errReplaced {
		err = unavailable("the cluster's schema is being changed", err)
	}
	return nil, nil, err
}

// Query reads. The result comes row by row, but the cluster has made the whole of it by then: MaxRows bounds that too, and MaxBytes does not.
func (c *Cluster) Query(ctx context.Context, q *engine.Query) (engine.Rows, error) {
	level := q.Level
	if level == "" {
		level = c.level
	}
	if !slices.Contains(levels, level) {
		return nil, engine.Errorf(engine.CodeParameter, "the level is none of %s", strings.Join(levels, ", "))
	}
	for round := range rounds {
		s, p, err := c.compile(ctx, q.Policy, q.SQL, -1)
		if err != nil {
			return nil, err
		}
		if !p.info.ReadOnly {
			return nil, engine.Errorf(engine.CodeNotReadOnly, "the statement writes")
		}
		rows, err := c.query(ctx, level, s, p, q)
		if err == nil {
			return rows, nil
		}
		if !errors.Is(err, errGuard) {
			return nil, err
		}
		// A node that lags behind, with level none, may have an older schema than the one that we know.
		if round > 0 && !sleep(ctx, firstPause) {
			return nil, contextError(ctx)
		}
		if _, err := c.renew(ctx, s, level); err != nil {
			return nil, err
		}
	}
	return nil, unavailable("the cluster's schema is being changed", errGuard)
}

// guardTables are the tables whose schema counts: nil for all. Raw SQL was held against all of it.
func guardTables(policy *engine.Policy, p *plan) map[string]bool {
	if policy != nil && policy.Vetted {
		return p.tables
	}
	return nil
}

// query sends a plan, behind its guard.
func (c *Cluster) query(ctx context.Context, level string, s *schema, p *plan, q *engine.Query) (engine.Rows, error) {
	values, err := arrange(q.Args, p.info.Parameters)
	if err != nil {
		return nil, err
	}
	body := []byte{'['}
	tables := guardTables(q.Policy, p)
	guarded := tables == nil || len(tables) > 0
	if guarded {
		body, err = appendStatement(body, "SELECT CASE WHEN "+guardOf(tables)+"=?1 THEN 'same' ELSE 'other' END",
			[]engine.Value{engine.TextOf(guardText(s.objects, tables))})
		if err != nil {
			return nil, err
		}
		body = append(body, ',')
	}
	if body, err = appendStatement(body, limited(p.sql, q.Limits), values); err != nil {
		return nil, err
	}
	r := &rows{columns: p.info.Columns, limits: q.Limits, guarded: guarded}
	if err := c.read(ctx, level, append(body, ']'), r); err != nil {
		return nil, err
	}
	return r, nil
}

// limited makes the cluster stop a row behind the limit, which tells that there is one more.
func limited(sql string, l engine.Limits) string {
	if l.MaxRows > 0 {
		sql += " LIMIT " + strconv.FormatInt(l.MaxRows+1, 10)
	}
	return sql
}

// read asks for rows, and reads the first.
func (c *Cluster) read(ctx context.Context, level string, body []byte, r *rows) error {
	path := "/db/query?level=" + level
	if r.guarded {
		path += "&transaction"
	}
	if r.limits.Timeout > 0 {
		path += "&db_timeout=" + r.limits.Timeout.String()
	}
	r.parent = ctx
	return c.do(ctx, &call{path: path, kind: jsonType, body: body, repeat: true, limit: r.limits.Timeout, begin: r.begin}, r.accept)
}

// begin sets the end of the statement's time: the search for a leader is not part of it.
func (r *rows) begin() {
	if r.limits.Timeout > 0 {
		r.end = time.Now().Add(r.limits.Timeout)
	}
}

// readAll reads all rows of one of our own statements, with columns columns. A row is valid during its call.
func (c *Cluster) readAll(
	ctx context.Context, level, sql string, args []engine.Value, columns int, l engine.Limits, each func([]engine.Value) error,
) error {
	body, err := appendStatement([]byte{'['}, limited(typedRows(sql, columns), l), args)
	if err != nil {
		return err
	}
	r := &rows{columns: make([]engine.Column, columns), limits: l}
	if err := c.read(ctx, level, append(body, ']'), r); err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		if err := each(r.row); err != nil {
			return err
		}
	}
	return r.Err()
}

// rows is a result that is read as it arrives.
type rows struct {
	columns []engine.Column
	limits  engine.Limits
	guarded bool
	parent  context.Context
	end     time.Time // zero: no end

	body   io.Closer
	timer  *time.Timer
	a      *answer
	head   result
	row    []engine.Value
	read   int64
	bytes  int64
	ahead  bool // the row has been read, and not yet been asked for
	last   bool // there are no more
	closed bool
	err    *engine.Error
}

// accept takes an answer if its first row, or its end, is a good one.
func (r *rows) accept(response *http.Response) *failure {
	most := maxValue
	if r.limits.MaxBytes > 0 && r.limits.MaxBytes < maxValue/2-100 {
		most = int(2*r.limits.MaxBytes) + 100
	}
	r.a = newAnswer(response.Body, max(most, 64<<10))
	r.read, r.bytes, r.ahead, r.last, r.err = 0, 0, false, false, nil
	if err := r.start(); err != nil {
		if errors.Is(err, errGuard) {
			return &failure{err: &engine.Error{Code: engine.CodeUnavailable, Message: errGuard.Error(), Offset: -1, RetryAfter: retryAfter, Err: errGuard}}
		}
		var e *engine.Error
		if errors.As(err, &e) {
			return &failure{err: e}
		}
		return readFailure(err)
	}
	if r.a.failure != "" {
		return failureOf(r.a.failure)
	}
	r.body = response.Body
	if !r.last && !r.end.IsZero() {
		// The body ends with the time that the statement has, also if nobody reads it.
		r.timer = time.AfterFunc(time.Until(r.end), func() { _ = response.Body.Close() })
	}
	if r.last {
		r.Close()
	}
	return nil
}

// start reads the guard's result and the first row.
func (r *rows) start() error {
	if err := r.a.open(); err != nil {
		return err
	}
	if r.guarded {
		more, err := r.a.begin(&r.head)
		if err != nil || !more {
			return err
		}
		if r.head.err != "" {
			return sqlError(r.head.err)
		}
		same := false
		for {
			more, err := r.a.row(&r.head)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			same = string(r.a.text) == "same"
		}
		if !same {
			return errGuard
		}
	}
	more, err := r.a.begin(&r.head)
	if err != nil {
		return err
	}
	if !more {
		if r.a.failure == "" {
			return syntax("there is no result")
		}
		return nil
	}
	return r.step()
}

// step reads a row, or finds the end.
func (r *rows) step() error {
	more, err := r.a.row(&r.head)
	if err != nil {
		return err
	}
	if !more {
		r.last = true
		if r.head.err != "" {
			return sqlError(r.head.err)
		}
		var next result
		if more, err := r.a.begin(&next); err != nil {
			return err
		} else if more {
			return syntax("there are more results than statements")
		}
		if r.a.failure != "" && r.read > 0 {
			return failureOf(r.a.failure).err
		}
		return nil
	}
	var size int64
	if r.row, size, err = r.a.rowOf(r.row[:0], len(r.columns)); err != nil {
		return err
	}
	if err := r.count(size); err != nil {
		return err
	}
	r.ahead = true
	return nil
}

// count counts a row, and says whether a limit is passed.
func (r *rows) count(size int64) *engine.Error {
	r.read++
	r.bytes += size
	switch {
	case r.limits.MaxRows > 0 && r.read > r.limits.MaxRows:
		return engine.Errorf(engine.CodeTooManyRows, "the result has more than %d rows", r.limits.MaxRows)
	case r.limits.MaxBytes > 0 && r.bytes > r.limits.MaxBytes:
		return engine.Errorf(engine.CodeTooManyBytes, "the result has more than %d bytes", r.limits.MaxBytes)
	}
	return nil
}

func (r *rows) Columns() []engine.Column { return r.columns }

func (r *rows) Next() bool {
	if r.ahead {
		r.ahead = false
		return true
	}
	if r.closed || r.last || r.err != nil {
		r.row = r.row[:0]
		return false
	}
	if err := r.step(); err != nil {
		r.fail(err)
		return false
	}
	if r.last {
		r.row = r.row[:0]
		r.Close()
		return false
	}
	r.ahead = false
	return true
}

func (r *rows) fail(err error) {
	r.row = r.row[:0]
	var e *engine.Error
	switch {
	case errors.As(err, &e):
		r.err = e
	case r.parent.Err() != nil:
		r.err = contextError(r.parent)
	case !r.end.IsZero() && !time.Now().Before(r.end):
		r.err = engine.Errorf(engine.CodeTimeout, "the statement took longer than it may")
	default:
		r.err = readFailure(err).err
	}
	r.Close()
}

func (r *rows) Value(column int) engine.Value { return r.row[column] }

func (r *rows) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Tag returns false: see Cluster.Tag.
func (r *rows) Tag() (engine.Tag, bool) { return engine.Tag{}, false }

func (r *rows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	_ = r.body.Close() // it was only read
}
