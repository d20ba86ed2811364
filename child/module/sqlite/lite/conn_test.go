package lite

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// What a role may have one operation do ends in a time that can be told: the clock is not looked at inside of a function.
func TestRoleBounds(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, small, big)", "INSERT INTO t VALUES (1, 'small', zeroblob(17 << 20))",
		"CREATE TABLE s(a, b)", "CREATE TRIGGER tr AFTER INSERT ON s BEGIN UPDATE s SET b = replace(new.a, 'a', 'b'); END")
	role := &engine.Policy{Name: "role", Read: map[string]engine.Columns{"*": nil}, Write: map[string]engine.Columns{"*": nil},
		Functions: map[string]bool{"*": true}}
	trims := &engine.Policy{Name: "trims", Read: role.Read, Functions: map[string]bool{"trim": true}}
	const long, short = "printf('%.*c', 20 << 10, 'a')", "printf('%.*c', 10 << 10, 'a')"
	pattern := func(n int) string { return "'%" + strings.Repeat("a", n-1) + "'" }
	for _, test := range []struct {
		policy *engine.Policy
		sql    string
		want   engine.Code
	}{
		{role, "SELECT 'a' LIKE " + pattern(64), ""},
		{role, "SELECT 'a' LIKE " + pattern(65), engine.CodeSQL},
		{role, "SELECT 'a' GLOB " + pattern(65), engine.CodeSQL},
		{role, "SELECT 'a' LIKE '%' || replace(hex(zeroblob(100)), '0', 'a')", engine.CodeSQL},
		{vetted, "SELECT 'a' LIKE " + pattern(10_000), ""},
		{vetted, "SELECT 'a' LIKE " + pattern(10_001), engine.CodeSQL},
		{role, "SELECT length(zeroblob(16 << 20))", ""},
		{role, "SELECT length(zeroblob((16 << 20) + 1))", engine.CodeTooLarge},
		{vetted, "SELECT length(zeroblob((16 << 20) + 1))", ""},
		{role, "SELECT length(printf('%.*c', 17 << 20, 'a'))", engine.CodeTooLarge},
		{role, "SELECT a, small FROM t", ""},
		{role, "SELECT big FROM t", engine.CodeTooLarge},
		{role, "UPDATE t SET small = 'x'", engine.CodeTooLarge},
		{vetted, "SELECT big FROM t", ""},
		{role, "SELECT instr(" + short + ", 'b'), " + short, ""},
		{role, "SELECT instr(" + long + ", 'b')", engine.CodeTooLarge},
		{role, "SELECT length(replace(" + long + ", 'a', 'b'))", engine.CodeTooLarge},
		{role, "SELECT length(replace(" + short + ", 'a', 'bb'))", engine.CodeTooLarge},
		{role, "SELECT trim(" + long + ", 'b')", engine.CodeTooLarge},
		{role, "SELECT json_patch('{}', json_quote(" + long + "))", engine.CodeTooLarge},
		{role, "SELECT " + long, ""},
		{role, "INSERT INTO s VALUES (" + long + ", 1)", engine.CodeTooLarge},
		{trims, "SELECT trim(" + long + ", 'b')", ""},
		{trims, "SELECT trim('a'), rtrim(" + long + ")", engine.CodeTooLarge},
		{vetted, "SELECT trim(" + long + ", 'b'), instr(" + long + ", 'b')", ""},
		{nil, "SELECT length(replace(zeroblob(17 << 20), 'a', 'b'))", ""},
	} {
		for _, kept := range []bool{true, false, true} { // between statements that have other bounds
			if _, err := allOf(c, test.policy, engine.Limits{}, &engine.Statement{SQL: test.sql, Kept: kept}); codeOf(t, err) != test.want {
				t.Errorf("%.80s, kept %t: %v, want %q", test.sql, kept, err, test.want)
			}
			if _, err := allOf(c, role, engine.Limits{}, &engine.Statement{SQL: "SELECT " + long, Kept: kept}); err != nil {
				t.Errorf("behind %.80s: %v", test.sql, err)
			}
		}
	}
	big := engine.Value{Kind: engine.Blob, Bytes: make([]byte, roleValue+1)}
	if _, err := all(c, role, engine.Limits{}, "SELECT length(?)", arg(big)); codeOf(t, err) != engine.CodeTooLarge {
		t.Error(err)
	}
	if _, err := all(c, vetted, engine.Limits{}, "SELECT length(?)", arg(big)); err != nil {
		t.Error(err)
	}
}

// An answer that is good for as long as nobody writes is told from one that is not.
func TestVolatile(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b CHECK (b <> random()), at DEFAULT CURRENT_TIMESTAMP, since DEFAULT (unixepoch()), g AS (upper(b)))",
		"CREATE VIEW steady AS SELECT a, b FROM t",
		"CREATE VIEW young AS SELECT a FROM t WHERE at > datetime('now', '-1 day')", "CREATE VIEW outer_young AS SELECT count(*) AS n FROM young",
		"CREATE VIRTUAL TABLE docs USING fts5(title, body)", "CREATE INDEX part ON t(b) WHERE b > 5", "CREATE TABLE log(x)",
		"CREATE TRIGGER tr AFTER INSERT ON log BEGIN UPDATE t SET b = random(); END", "CREATE VIRTUAL TABLE shapes USING geopoly(a)")
	role := &engine.Policy{Name: "role", Read: map[string]engine.Columns{"*": nil}, Write: map[string]engine.Columns{"*": nil}}
	for want, list := range map[bool]string{false: `
		SELECT 1
		SELECT * FROM t
		SELECT * FROM steady WHERE a = ?
		SELECT count(*), sum(a), avg(a), min(a), max(b), total(a), group_concat(b, ','), string_agg(b, '-' ORDER BY a) FROM t
		SELECT row_number() OVER (), lag(a, 1) OVER (ORDER BY b), ntile(3) OVER (), sum(a) FILTER (WHERE a > 1) OVER (ROWS 2 PRECEDING) FROM t
		SELECT json_extract(b, '$.a'), b -> 'a', b ->> 'a', json_group_array(b), jsonb(b), json_object('a', b) FROM t
		SELECT value FROM t, json_each(t.b)
		SELECT highlight(docs, 0, '<', '>'), snippet(docs, 1, '[', ']', '', 5), bm25(docs) FROM docs WHERE docs MATCH 'a' ORDER BY rank
		SELECT a FROM t WHERE b LIKE 'a%' OR b GLOB '*' OR b IN (1, 2) OR b BETWEEN 1 AND 2 OR b IS NULL OR CAST(b AS TEXT) = 'x' COLLATE NOCASE
		SELECT upper(b), round(a, 2), printf('%d', a), coalesce(a, b), iif(a, 1, 2), CASE WHEN a THEN abs(a) END, hex(b), substr(b, 1) FROM t
		SELECT geopoly_area(_shape) FROM shapes WHERE geopoly_within(_shape, ?)
		SELECT 'random()', "at" AS "datetime('now')" FROM t -- unixepoch()
		WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT i FROM r
		DELETE FROM t WHERE a = 1`, true: `
		SELECT random()
		SELECT a FROM t ORDER BY RANDOM() LIMIT 1
		SELECT "random"(), 1
		SELECT hex(randomblob(4))
		SELECT a FROM t WHERE at > unixepoch()
		SELECT a FROM t WHERE at > date()
		SELECT time('now'), datetime('now'), julianday('now')
		SELECT strftime('%Y', at) FROM t
		SELECT timediff('now', at) FROM t
		SELECT CURRENT_TIMESTAMP
		SELECT a FROM t WHERE at < current_date
		SELECT a FROM t GROUP BY b HAVING max(at) < Current_Time
		SELECT changes()
		SELECT last_insert_rowid()
		SELECT a FROM t LIMIT abs(random() % 3)
		SELECT a FROM t WHERE EXISTS (SELECT 1 WHERE random() > 0)
		WITH w AS (SELECT random() AS r) SELECT r FROM w
		SELECT sum(a) OVER (ORDER BY random()) FROM t
		SELECT json_object('now', datetime('now'))
		SELECT value FROM json_each(json_array(random()))
		SELECT a FROM young
		SELECT n FROM outer_young
		SELECT count(*) FROM outer_young
		INSERT INTO t(a, b) VALUES (1, 2)
		INSERT INTO log VALUES (1)
		EXPLAIN SELECT random()`} {
		for _, sql := range lines(list) {
			for _, p := range []*engine.Policy{vetted, role} {
				if info, err := c.Inspect(p, sql); err != nil || info.Volatile != want {
					t.Errorf("%s: %s: volatile %t, %v", p.Name, sql, info.Volatile, err)
				}
			}
		}
	}
	for _, sql := range []string{"SELECT total_changes()", "SELECT sqlite_version()"} {
		if info, err := c.Inspect(vetted, sql); err == nil && !info.Volatile {
			t.Errorf("%s is not volatile", sql)
		}
	}
}

// Every function of this SQLite is known for what it is: one that comes with a new version is volatile until it has been looked at.
func TestFunctionsAreKnown(t *testing.T) {
	c := openTest(t, Options{Path: Memory})
	rows, err := all(c, nil, engine.Limits{}, "SELECT DISTINCT lower(name) FROM pragma_function_list")
	if err != nil {
		t.Fatal(err)
	}
	others := set("total_changes rtreenode rtreedepth fts5_locale fts5_get_locale fts5_insttoken")
	for _, row := range rows {
		name := string(row[0].Bytes)
		if !steadyFunctions[name] && !volatileFunctions[name] && !outsideFunctions[name] && !others[name] {
			t.Errorf("the function %s is in no list", name)
		}
		if steadyFunctions[name] && volatileFunctions[name] {
			t.Errorf("the function %s is in two lists", name)
		}
	}
}

// LastInsertID is the statement's own, and last_insert_rowid() the connection's.
func TestLastInsertID(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b UNIQUE)", "CREATE TABLE k(a PRIMARY KEY) WITHOUT ROWID",
		"CREATE TABLE n(x INTEGER PRIMARY KEY, seen)", "CREATE VIRTUAL TABLE docs USING fts5(a)", "CREATE VIEW v AS SELECT a FROM t",
		"CREATE TRIGGER iv INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.a, new.a); END",
		"CREATE TABLE asks(x)", "CREATE TRIGGER ia BEFORE INSERT ON asks BEGIN INSERT INTO n(x, seen) VALUES (99, last_insert_rowid()); END")
	for _, step := range []struct {
		sql        string
		id, told   int64
		kept, fail bool
	}{
		{sql: "INSERT INTO t VALUES (7, 7)", id: 7, told: 7},
		{sql: "INSERT INTO n VALUES (7, 0)", id: 7, told: 7},
		{sql: "INSERT INTO t VALUES (7, 7) ON CONFLICT DO UPDATE SET b = 8", told: 7},
		{sql: "INSERT INTO t VALUES (3, 8) ON CONFLICT (b) DO UPDATE SET b = 7 RETURNING a", told: 7},
		{sql: "INSERT OR IGNORE INTO t VALUES (7, 7)", told: 7},
		{sql: "UPDATE t SET b = 7", told: 7},
		{sql: "INSERT INTO k VALUES ('x')", told: 7},
		{sql: "INSERT INTO n VALUES (last_insert_rowid() + 1, 0)", id: 8, told: 8},
		{sql: "INSERT INTO t VALUES (last_insert_rowid(), 8)", id: 8, told: 8},
		{sql: "UPDATE n SET seen = last_insert_rowid()", told: 8},
		{sql: "DELETE FROM n WHERE x = last_insert_rowid()", told: 8},
		{sql: "INSERT INTO t VALUES (20, 20), (7, 7)", told: 8, fail: true},
		{sql: "INSERT INTO t VALUES (21, 21), (22, 22) RETURNING a", id: 22, told: 22},
		{sql: "INSERT INTO docs VALUES ('a b')", id: 1, told: 1},
		{sql: "INSERT INTO t VALUES (0, 0)", id: 0, told: 0},
		{sql: "INSERT INTO t VALUES (-5, -5)", id: -5, told: -5},
		{sql: "INSERT INTO v VALUES (50)", told: -5},
		{sql: "INSERT INTO asks VALUES (1)", id: 1, told: 1},
		{sql: "INSERT INTO t(b) VALUES (?1)", kept: true, id: 51, told: 51},
		{sql: "SELECT last_insert_rowid()", told: 51},
		{sql: "REPLACE INTO t VALUES (7, 70)", id: 7, told: 7},
	} {
		s := &engine.Statement{SQL: step.sql, Kept: step.kept}
		if step.kept {
			s.Args = []engine.Arg{arg(engine.TextOf("kept"))}
		}
		if _, err := allOf(c, vetted, engine.Limits{}, s); (err != nil) != step.fail {
			t.Fatal(step.sql, err)
		}
		id := c.LastInsertID()
		if told, err := all(c, vetted, engine.Limits{}, "SELECT last_insert_rowid()"); err != nil || id != step.id || told[0][0].Int != step.told {
			t.Errorf("%s: inserted %d, last_insert_rowid() %v, %v", step.sql, id, told, err)
		}
	}
	if rows, err := all(c, nil, engine.Limits{}, "SELECT seen FROM n WHERE x = 99"); err != nil || rows[0][0].Int != -5 {
		t.Errorf("the trigger was told %v, %v", rows, err)
	}
}
