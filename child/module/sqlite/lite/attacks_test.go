package lite

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// ?1 ends before a letter, so that what follows can be a keyword.
func TestJoinsByNameBehindNumberedParameter(t *testing.T) {
	c := authorizerFile(t)
	for _, sql := range lines(`
		WITH g(password) AS (VALUES ('hunter2')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON ?1natural JOIN users
		WITH g(password) AS (VALUES ('hunter2')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON ?1NATURAL JOIN users
		WITH g(password) AS (VALUES ('hunter2')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON ?001natural JOIN users`) {
		if rows, err := all(c, reader, engine.Limits{}, sql, arg(engine.IntegerOf(1))); codeOf(t, err) != engine.CodeDenied {
			t.Errorf("%s: %v, %v", sql, rows, err)
		}
	}
}

// Who may change a column only may not delete what stands in its way.
func TestUpdateOrReplace(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE accounts(id INTEGER PRIMARY KEY, handle TEXT UNIQUE, pin TEXT)",
		"INSERT INTO accounts VALUES (1, 'ann', 1), (2, 'bob', 2)")
	column := &engine.Policy{Name: "column", Read: map[string]engine.Columns{"accounts": {"id": true}},
		Write: map[string]engine.Columns{"accounts": {"handle": true}}}
	for _, sql := range lines(`
		UPDATE OR REPLACE accounts SET handle = 'ann' WHERE id = 2
		update/**/or/**/replace accounts SET handle = 'ann'
		WITH x AS (SELECT 1) UPDATE OR REPLACE accounts SET handle = 'ann'
		EXPLAIN UPDATE OR REPLACE accounts SET handle = 'ann'`) {
		checkCode(t, c, column, sql, engine.CodeDenied)
	}
	for _, sql := range lines(`
		UPDATE OR IGNORE accounts SET handle = 'ann' WHERE id = 2
		UPDATE accounts SET handle = 'update or replace' WHERE id = 2
		UPDATE accounts SET handle = replace('update', 'or', 'replace') WHERE id = 2`) {
		checkCode(t, c, column, sql, "")
	}
	whole := &engine.Policy{Name: "whole", Read: column.Read, Write: map[string]engine.Columns{"accounts": nil}}
	checkCode(t, c, whole, "UPDATE OR REPLACE accounts SET handle = 'ann' WHERE id = 2", "")
}

// A full-text index keeps its statements compiled, and SQLite does not ask about the argument in parentheses.
func TestVirtualTablesAreGrantedWhole(t *testing.T) {
	_, c := newFile(t, "CREATE VIRTUAL TABLE docs USING fts5(title, body)", "INSERT INTO docs VALUES ('open', 'hidden words')")
	if rows, err := all(c, vetted, engine.Limits{}, "SELECT title, body FROM docs('hidden')"); err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	part := &engine.Policy{Name: "part", Read: map[string]engine.Columns{"docs": {"title": true}},
		Write: map[string]engine.Columns{"docs": {"title": true}}}
	for _, sql := range lines(`
		SELECT title FROM docs
		SELECT title FROM docs('body : hid*')
		SELECT count(*) FROM docs('body : hid*')
		SELECT 1 FROM docs
		UPDATE docs SET title = 'x'`) {
		checkCode(t, c, part, sql, engine.CodeDenied)
	}
}

// columnsOnly may read two columns of a table, and nothing else.
var columnsOnly = &engine.Policy{Name: "columns", Read: map[string]engine.Columns{"items": {"id": true, "name": true}}, MaxDepth: 100}

// A generator makes statements out of names that are granted, names that are not, and all that SQL joins them by.
type generator struct {
	*rand.Rand
	depth int
}

func (g *generator) one(forms ...string) string { return forms[g.IntN(len(forms))] }

func (g *generator) expression() string {
	if g.depth++; g.depth > 12 {
		g.depth--
		return "1"
	}
	defer func() { g.depth-- }()
	switch g.IntN(14) {
	case 0, 1, 2:
		return g.one("id", "name", "items.id", "a.id", "b.name", "a.name", "x", "c.x", "rowid", "a.rowid", "b.id")
	case 3:
		return g.one("secret", "a.secret", "items.secret", "word", "b.word", "shout", "vault.word", `"secret"`)
	case 4:
		return g.one("1", "2", "'nut'", "NULL", "0", "x'00'", "'n%'")
	case 5:
		return g.one("max", "min", "count", "sum", "length", "upper", "typeof", "group_concat", "hex", "json_array", "abs") + "(" + g.expression() + ")"
	case 6:
		return "(" + g.expression() + g.one(" = ", " < ", " || ", " + ", " IS ", " LIKE ", " AND ", " OR ", " -> ") + g.expression() + ")"
	case 7:
		return "(" + g.query() + ")"
	case 8:
		return "EXISTS (" + g.query() + ")"
	case 9:
		return "(" + g.expression() + g.one(" IN ", " NOT IN ") + g.one("("+g.query()+")", "(1, 'nut')", "items", "vault", "("+g.expression()+")") + ")"
	case 10:
		return "CASE WHEN " + g.expression() + " THEN " + g.expression() + " ELSE " + g.expression() + " END"
	case 11:
		return g.one("count(*)", "sum(id)", "max(name)", "row_number()") + " OVER (" + g.one("", "PARTITION BY "+g.expression()) + " ORDER BY " +
			g.expression() + ")"
	case 12:
		return "count(*) FILTER (WHERE " + g.expression() + ")"
	}
	return "CAST(" + g.expression() + " AS TEXT)"
}

func (g *generator) source() string {
	if g.depth++; g.depth > 8 {
		g.depth--
		return "items"
	}
	defer func() { g.depth-- }()
	alias := g.one("", " AS a", " AS b", " AS items", " AS vault")
	switch g.IntN(9) {
	case 0, 1, 2:
		return g.one("items", "main.items", `"items"`, "[ITEMS]") + alias
	case 3:
		return g.one("vault", "main.vault", "peek", "named", "c", "doubled") + alias
	case 4:
		return "(" + g.query() + ")" + alias
	case 5:
		return g.source() + g.one(", ", " JOIN ", " CROSS JOIN ") + g.source()
	case 6:
		return g.source() + g.one(" LEFT", " RIGHT", " FULL", " INNER", " NATURAL LEFT", " NATURAL") + " JOIN " + g.source() + g.one(" ON "+g.expression(),
			" ON 1", " USING (id)", " USING (secret)", "")
	case 7:
		return "json_each(json_array(" + g.expression() + "))" + alias
	}
	return "(" + g.source() + ")"
}

func (g *generator) query() string {
	if g.depth++; g.depth > 10 {
		g.depth--
		return "SELECT id AS x FROM items"
	}
	defer func() { g.depth-- }()
	var b strings.Builder
	if g.IntN(6) == 0 {
		fmt.Fprintf(&b, "WITH %s AS %s(%s) ", g.one("c", "c(x)", "items", "vault", "peek", "vault(word)"), g.one("", "MATERIALIZED "), g.query())
	}
	fmt.Fprintf(&b, "SELECT %s%s", g.one("", "", "DISTINCT "), g.one("*", "a.*", "1", g.expression()+" AS x", g.expression()+" AS id, "+g.expression()))
	if g.IntN(8) > 0 {
		fmt.Fprintf(&b, " FROM %s", g.source())
	}
	if g.IntN(3) == 0 {
		fmt.Fprintf(&b, " WHERE %s", g.expression())
	}
	if g.IntN(6) == 0 {
		fmt.Fprintf(&b, " GROUP BY %s HAVING %s", g.expression(), g.expression())
	}
	if g.IntN(8) == 0 {
		fmt.Fprintf(&b, "%s%s", g.one(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT "), g.query())
	}
	if g.IntN(8) == 0 {
		fmt.Fprintf(&b, " ORDER BY %s", g.expression())
	}
	return b.String()
}

// What a role is answered that may read two columns is the same whatever stands elsewhere. (The order of rows that a statement does not order may
// follow an index, of columns that are not granted too: there is none here.)
func TestGeneratedStatements(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1_000
	}
	compareGenerated(t, rand.Uint64(), n)
}

func FuzzGeneratedStatements(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { compareGenerated(t, seed, 200) })
}

func compareGenerated(t *testing.T, seed uint64, n int) {
	var files [2]*Conn
	for i, hidden := range []string{"(1, 'aa'), (7, 'ab')", "(2, 'zz')"} {
		_, files[i] = newFile(t, "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, secret TEXT, shout TEXT AS (upper(secret)))",
			"CREATE TABLE vault(id INTEGER PRIMARY KEY, word TEXT)", "INSERT INTO vault VALUES "+hidden,
			"INSERT INTO items(id, name, secret) SELECT value, CASE value WHEN 3 THEN NULL WHEN 4 THEN 'nut' ELSE 'n' || value END, "+
				"iif((value & 1) = "+fmt.Sprint(i)+", NULL, 'hidden') FROM json_each('[1,2,3,4]')",
			"CREATE VIEW peek AS SELECT id, word FROM vault", "CREATE VIEW named AS SELECT id, secret AS name FROM items",
			"CREATE VIEW doubled AS SELECT a.id FROM items a NATURAL JOIN vault")
	}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	answered := 0
	for range n {
		sql := g.query()
		got, err := printed(files[0], sql)
		want, other := printed(files[1], sql)
		if codeOf(t, err) == "" {
			answered++
		}
		if err != nil && other != nil && err.Error() == other.Error() {
			continue
		}
		if err != nil || other != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d: %s\n\tone:   %.300q, %v\n\tother: %.300q, %v", seed, sql, got, err, want, other)
		}
	}
	if answered == 0 {
		t.Error("no statement was answered")
	}
	t.Logf("%d of %d statements were answered", answered, n)
}

// printed are the rows of a statement of columnsOnly.
func printed(c *Conn, sql string) ([]string, error) {
	rows, err := all(c, columnsOnly, engine.Limits{MaxRows: 2000}, sql)
	list := make([]string, len(rows))
	for i, row := range rows {
		var b strings.Builder
		for _, v := range row {
			fmt.Fprintf(&b, "%v:%d:%v:%q|", v.Kind, v.Int, v.Real, v.Bytes)
		}
		list[i] = b.String()
	}
	return list, err
}
