package sqlite

import (
	"context"
	"sync"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A rawFake is a database of statements whose results are written down.
type rawFake struct {
	mu         sync.Mutex
	statements map[string]*rawFaked
	batches    []engine.Batch
	queries    []engine.Query
	open       int // rows that nobody has closed
	executeErr error
	tags       []engine.Tag // of the rows to come, the last again and again
	noTag      bool
}

// A rawFaked is what one statement does.
type rawFaked struct {
	writes       bool
	columns      []engine.Column
	rows         [][]engine.Value
	count        int   // more rows, all like the last
	err          error // at once
	errAfter     error // behind the rows
	affected, id int64
}

func (f *rawFake) find(sql string) *rawFaked {
	if s := f.statements[sql]; s != nil {
		return s
	}
	return &rawFaked{err: engine.Errorf(engine.CodeSQL, "no such statement: %s", sql)}
}

func (f *rawFake) Query(ctx context.Context, q *engine.Query) (engine.Rows, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, *q)
	s := f.find(q.SQL)
	switch {
	case s.err != nil:
		return nil, s.err
	case s.writes:
		return nil, engine.Errorf(engine.CodeNotReadOnly, "the statement writes")
	}
	f.open++
	r := &rawFakedRows{fake: f, faked: s, at: -1, tagged: !f.noTag}
	if len(f.tags) > 0 {
		if r.tag = f.tags[0]; len(f.tags) > 1 {
			f.tags = f.tags[1:]
		}
	}
	return r, nil
}

func (f *rawFake) Execute(ctx context.Context, b *engine.Batch) ([]engine.Outcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, *b)
	if f.executeErr != nil {
		return nil, f.executeErr
	}
	var outcomes []engine.Outcome
	for i := range b.Statements {
		s := f.find(b.Statements[i].SQL)
		outcomes = append(outcomes, engine.Outcome{Err: s.err, Columns: s.columns, Rows: s.rows, Reads: !s.writes,
			RowsAffected: s.affected, LastInsertID: s.id})
		if s.err != nil && b.Atomic {
			return outcomes, s.err
		}
	}
	return outcomes, nil
}

func (f *rawFake) Inspect(ctx context.Context, policy *engine.Policy, sql string) (engine.Info, error) {
	s := f.find(sql)
	if s.err != nil {
		return engine.Info{}, s.err
	}
	return engine.Info{ReadOnly: !s.writes, Columns: s.columns}, nil
}

func (f *rawFake) Tag() (engine.Tag, bool) { return engine.Tag{}, false }

func (f *rawFake) Close() {}

// rawFakedRows are the rows of a rawFaked.
type rawFakedRows struct {
	fake   *rawFake
	faked  *rawFaked
	at     int
	tag    engine.Tag
	tagged bool
	closed bool
}

func (r *rawFakedRows) Columns() []engine.Column { return r.faked.columns }

func (r *rawFakedRows) Next() bool {
	r.at++
	return !r.closed && r.at < len(r.faked.rows)+r.faked.count
}

func (r *rawFakedRows) Value(column int) engine.Value {
	return r.faked.rows[min(r.at, len(r.faked.rows)-1)][column]
}

func (r *rawFakedRows) Err() error { return r.faked.errAfter }

func (r *rawFakedRows) Tag() (engine.Tag, bool) { return r.tag, r.tagged }

func (r *rawFakedRows) Close() {
	r.fake.mu.Lock()
	defer r.fake.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.fake.open--
	}
}
