package rqlite

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// An object is a row of sqlite_schema.
type object struct{ kind, name, table, sql string }

// objectsSQL lists what the operator has made. What SQLite makes for itself (autoindexes, statistics) may differ from node to node.
const objectsSQL = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*' ORDER BY type, name"

// guardSQL is the schema as one text: of all tables, or of those of a list that is put in. guardText makes the same of objects.
//
// It depends on nothing that may differ from node to node, such as the number of the schema (VACUUM counts it on): it runs in transactions of
// raft's log, and each node must come to the same answer.
const (
	guardSQL = "(SELECT coalesce(group_concat(type||' '||name||' '||coalesce(sql,''),char(10) ORDER BY type, name),'') FROM sqlite_schema " +
		"WHERE name NOT GLOB 'sqlite_*' AND type<>'index'"
	guardEnd = ")"
)

func guardText(objects []object, tables map[string]bool) string {
	var b strings.Builder
	for _, o := range objects {
		if o.kind == "index" || tables != nil && !tables[strings.ToLower(o.table)] {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(o.kind + " " + o.name + " " + o.sql)
	}
	return b.String()
}

// guardOf is the SQL of the guard.
func guardOf(tables map[string]bool) string {
	if tables == nil {
		return guardSQL + guardEnd
	}
	names := make([]string, 0, len(tables))
	for name := range tables {
		names = append(names, quoteText(name))
	}
	slices.Sort(names)
	return guardSQL + " AND lower(tbl_name) IN (" + strings.Join(names, ",") + ")" + guardEnd
}

const (
	// maxPlans bounds the plans that are kept, and maxPlanSQL the length of what is worth to be kept.
	maxPlans   = 512
	maxPlanSQL = 8 << 10
	maxObjects = 100_000
	maxSchema  = 16 << 20
)

type planKey struct {
	policy *engine.Policy
	sql    string
}

// errReplaced: a newer copy of the schema has taken the place of this one.
var errReplaced = errors.New("the copy of the schema has been replaced")

// A schema is a copy of the cluster's schema, in memory, to compile on. It is in use by several calls; the last closes it.
type schema struct {
	objects []object
	made    time.Time

	mu    sync.Mutex
	conn  *lite.Conn // guarded by mu; nil: closed
	plans map[planKey]*plan
	// failed are objects that this program's SQLite could not make: a virtual table of a module that it has not.
	failed map[string]error
}

// newSchema makes the objects in memory.
func newSchema(objects []object, now time.Time) (*schema, error) {
	conn, err := lite.Open(lite.Options{Path: lite.Memory})
	if err != nil {
		return nil, err
	}
	s := &schema{objects: objects, made: now, conn: conn, plans: map[planKey]*plan{}, failed: map[string]error{}}
	made := map[string]bool{}
	for _, kind := range []string{"table", "view", "index", "trigger"} {
		for _, o := range objects {
			if o.kind != kind || o.sql == "" {
				continue
			}
			// A virtual table brings its shadow tables along, which then exist: their names are the virtual table's and more.
			if err := conn.Exec(o.sql); err != nil && !shadow(o, made) {
				s.failed[strings.ToLower(o.name)] = err
				continue
			}
			if kind == "table" && strings.HasPrefix(strings.ToLower(o.sql), "create virtual table") {
				made[strings.ToLower(o.name)] = true
			}
		}
	}
	return s, nil
}

// shadow reports whether o is a table that a virtual table has made.
func shadow(o object, virtual map[string]bool) bool {
	name := strings.ToLower(o.name)
	i := strings.LastIndexByte(name, '_')
	return o.kind == "table" && i > 0 && virtual[name[:i]]
}

// plan compiles sql, or finds it among the kept.
func (s *schema) plan(policy *engine.Policy, sql string) (*plan, error) {
	key := planKey{policy, sql}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plans[key]; p != nil {
		return p, nil
	}
	if s.conn == nil {
		return nil, errReplaced
	}
	p, err := newPlan(s.conn, policy, sql)
	if err != nil {
		return nil, s.explain(err)
	}
	if len(sql) <= maxPlanSQL {
		if len(s.plans) >= maxPlans {
			clear(s.plans)
		}
		s.plans[key] = p
	}
	return p, nil
}

// explain says of a table that could not be copied why it is not there.
func (s *schema) explain(err error) error {
	e := engine.ErrorOf(err)
	if name, ok := strings.CutPrefix(e.Message, "no such table: "); ok && s.failed[strings.ToLower(name)] != nil {
		return &engine.Error{
			Code: engine.CodeSQL, Message: e.Message + " (it is in the cluster, and of a kind that this server cannot compile for)", Offset: e.Offset,
			Err: s.failed[strings.ToLower(name)],
		}
	}
	return e
}

func (s *schema) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		// A database in memory has nothing left to lose.
		_ = s.conn.Close()
		s.conn = nil
	}
}

// constraint tells a primary key from another unique constraint, and a trigger's RAISE from a wrong statement: SQLite's messages do not, and its
// codes do not arrive.
func (s *schema) constraint(e *engine.Error) {
	switch e.Code {
	case engine.CodeConstraintUnique:
		list, ok := strings.CutPrefix(e.Message, "UNIQUE constraint failed: ")
		if !ok {
			return
		}
		var table string
		var columns []string
		for _, column := range strings.Split(list, ", ") {
			t, c, _ := strings.Cut(column, ".")
			table, columns = t, append(columns, c)
		}
		if key := s.primaryKey(table); len(key) > 0 && slices.Equal(key, columns) {
			e.Code = engine.CodeConstraintPrimaryKey
		}
	case engine.CodeSQL:
		for _, o := range s.objects {
			if o.kind == "trigger" && e.Message != "" && strings.Contains(o.sql, quoteText(e.Message)) {
				e.Code = engine.CodeConstraintTrigger
			}
		}
	}
}

// primaryKey returns the columns of a table's primary key in their order.
func (s *schema) primaryKey(table string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	rows, err := s.conn.Start(context.Background(), nil, &engine.Statement{
		SQL: "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk", Args: []engine.Arg{{Value: engine.TextOf(table)}},
	}, engine.Limits{})
	if err != nil {
		return nil
	}
	defer rows.Close()
	var key []string
	for rows.Next() {
		key = append(key, string(rows.Value(0).Bytes))
	}
	return key
}

// present returns the copy of the schema, which is not older than age if the cluster can be asked for a new one.
func (c *Cluster) present(ctx context.Context, age time.Duration) (*schema, error) {
	if s := c.known(age); s != nil {
		return s, nil
	}
	return c.renew(ctx, c.known(-1), "")
}

// known returns the copy if it is young enough; a negative age takes any.
func (c *Cluster) known(age time.Duration) *schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.schema == nil || age >= 0 && time.Since(c.schema.made) > age {
		return nil
	}
	return c.schema
}

// renew asks the cluster for its schema, unless somebody has since seen was taken. level is that of what will be run.
func (c *Cluster) renew(ctx context.Context, seen *schema, level string) (*schema, error) {
	select {
	case c.refresh <- struct{}{}:
	case <-ctx.Done():
		return nil, contextError(ctx)
	}
	defer func() { <-c.refresh }()
	if s := c.known(-1); s != nil && s != seen {
		return s, nil
	}
	if level == "" {
		level = "weak"
	}
	objects, err := c.objects(ctx, level)
	if err != nil {
		return nil, err
	}
	if seen != nil && slices.Equal(seen.objects, objects) {
		// It is the same one, and what has been compiled on it stays good.
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.schema == seen {
			seen.made = time.Now()
		}
		return seen, nil
	}
	s, err := newSchema(objects, time.Now())
	if err != nil {
		return nil, engine.ErrorOf(err)
	}
	for name, err := range s.failed {
		c.log("rqlite: "+name+" cannot be made in the copy of the schema: statements that use it are refused", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		s.close()
		return nil, unavailable("the cluster is closed", nil)
	}
	if c.schema != nil {
		c.schema.close()
	}
	c.schema = s
	return s, nil
}

// objects asks for the schema.
func (c *Cluster) objects(ctx context.Context, level string) ([]object, error) {
	var objects []object
	err := c.readAll(ctx, level, objectsSQL, nil, 4, engine.Limits{MaxRows: maxObjects, MaxBytes: maxSchema}, func(row []engine.Value) error {
		objects = append(objects, object{string(row[0].Bytes), string(row[1].Bytes), string(row[2].Bytes), string(row[3].Bytes)})
		return nil
	})
	return objects, err
}
