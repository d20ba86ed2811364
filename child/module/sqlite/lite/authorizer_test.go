package lite

import (
	"strings"
	"testing"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// reader may read items, the two public columns of users, the view names with what it needs, the full-text index docs and the table children; it
// may write notes, one column of users, and the index drafts.
var reader = &engine.Policy{
	Name: "reader",
	Read: map[string]engine.Columns{"items": nil, "users": {"id": true, "name": true}, "names": nil, "docs": nil, "notes": nil, "leak": nil,
		"drafts": nil, "log": nil},
	Write: map[string]engine.Columns{"notes": nil, "users": {"name": true}, "drafts": nil, "audited": nil},
}

var everything = &engine.Policy{Name: "all", Read: map[string]engine.Columns{"*": nil}, Write: map[string]engine.Columns{"*": nil},
	Functions: map[string]bool{"*": true}}

func authorizerFile(t *testing.T) *Conn {
	_, c := newFile(t,
		"CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, price REAL)",
		"CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, password TEXT)",
		"CREATE TABLE secrets(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT UNIQUE)",
		"CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT)",
		"CREATE TABLE log(text TEXT)", "CREATE TABLE hidden_log(text TEXT)", "CREATE TABLE audited(text TEXT)",
		"CREATE VIEW names AS SELECT name FROM users",
		"CREATE VIEW leak AS SELECT text FROM secrets",
		"CREATE VIRTUAL TABLE docs USING fts5(title, body)",
		"CREATE VIRTUAL TABLE drafts USING fts5(body)",
		"CREATE VIRTUAL TABLE private USING fts5(body)",
		"CREATE TABLE docs_other(text TEXT)", // the name of a shadow, and none
		"CREATE TRIGGER audit AFTER INSERT ON audited BEGIN INSERT INTO hidden_log VALUES(new.text); END",
		"INSERT INTO items VALUES(1,'cup',2.5),(2,'pot',9)",
		"INSERT INTO users VALUES(1,'ann','hunter2')",
		"INSERT INTO secrets VALUES(1,'the secret')",
		"INSERT INTO docs VALUES('a','hello world')", "INSERT INTO private VALUES('hidden words')",
		"INSERT INTO docs_other VALUES('other')",
	)
	return c
}

func TestAuthorizer(t *testing.T) {
	const denied, ok = engine.CodeDenied, engine.Code("")
	c := authorizerFile(t)
	for _, group := range []struct {
		policy *engine.Policy
		code   engine.Code
		sql    string // a statement a line
	}{
		{reader, ok, `
			SELECT * FROM items
			SELECT name, sum(price) OVER (ORDER BY id) FROM items
			SELECT count(*) FROM items
			SELECT id, name FROM users
			SELECT count(*) FROM users
			SELECT name FROM names
			SELECT 1
			VALUES (1), (2)
			WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 5) SELECT x FROM c
			WITH c AS (SELECT name FROM items) SELECT name FROM c
			SELECT i.name FROM items AS i JOIN users AS u ON i.id = u.id
			SELECT 'using', "natural" FROM (SELECT 1 AS [natural]) -- using
			SELECT 1 AS using_it, 2 AS natural_
			SELECT value FROM json_each('[1,2]')
			SELECT count(*) FROM json_tree('{"a":1}')
			SELECT upper(name), substr(name, 1, 2), printf('%d', id) FROM items
			SELECT name FROM items WHERE name LIKE 'c%' OR name GLOB 'p*'
			SELECT datetime('now'), random(), hex(randomblob(4)), json_object('a', 1)
			SELECT body FROM docs WHERE docs MATCH 'hello'
			SELECT snippet(docs, 1, '[', ']', '…', 5), bm25(docs) FROM docs WHERE docs MATCH 'world' ORDER BY rank
			SELECT highlight(docs, 1, '<', '>') FROM docs('hello')
			SELECT group_concat(name, ',') FROM items GROUP BY price HAVING count(*) > 0
			INSERT INTO notes(text) VALUES ('x') RETURNING id, text
			INSERT INTO notes VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET text = excluded.text
			INSERT OR REPLACE INTO notes VALUES (1, 'z')
			UPDATE notes SET text = 'y' WHERE id = 1
			DELETE FROM notes
			UPDATE users SET name = 'b' WHERE id = 1
			UPDATE users SET name = 'c' WHERE id = 1 RETURNING name
			INSERT INTO drafts VALUES ('one two')
			SELECT body FROM drafts WHERE drafts MATCH 'two'
			UPDATE drafts SET body = 'three' WHERE rowid = 1
			DELETE FROM drafts WHERE rowid = 1
			EXPLAIN SELECT * FROM items
			EXPLAIN QUERY PLAN SELECT * FROM items
			/* a comment */ SELECT 1 -- and one
			;;SELECT 1;;`},
		{reader, denied, `
			SELECT * FROM users
			SELECT password FROM users
			SELECT length(password) FROM users
			SELECT id FROM users WHERE password LIKE 'h%'
			SELECT id FROM users ORDER BY password
			SELECT id FROM users GROUP BY password
			SELECT max(password) FROM users
			SELECT rowid FROM secrets
			SELECT text FROM secrets
			SELECT count(*) FROM secrets
			SELECT EXISTS (SELECT 1 FROM secrets)
			SELECT (SELECT text FROM secrets)
			SELECT name FROM items UNION ALL SELECT text FROM secrets
			SELECT name FROM items WHERE name IN (SELECT text FROM secrets)
			SELECT items.name FROM items, secrets
			SELECT items.name FROM items LEFT JOIN secrets USING (id)
			SELECT text FROM main.secrets
			SELECT "text" FROM "SECRETS"
			SELECT [text] FROM [Secrets]
			SELECT text FROM leak
			SELECT count(*) FROM leak
			WITH leak AS (SELECT text FROM secrets) SELECT text FROM leak
			WITH names AS (SELECT text FROM secrets) SELECT text FROM names
			WITH items AS (SELECT text FROM secrets) SELECT text FROM items
			WITH audit AS (SELECT text FROM secrets) SELECT text FROM audit
			WITH RECURSIVE r AS (SELECT text FROM secrets UNION SELECT text FROM r) SELECT text FROM r
			SELECT text FROM (SELECT text FROM secrets) AS items
			SELECT * FROM sqlite_master
			SELECT sql FROM sqlite_schema
			SELECT count(*) FROM sqlite_schema
			SELECT name FROM sqlite_temp_master
			SELECT name FROM sqlite_temp_schema
			SELECT seq FROM sqlite_sequence
			SELECT body FROM private WHERE private MATCH 'hidden'
			SELECT c0 FROM private_content
			SELECT block FROM private_data
			SELECT text FROM docs_other
			SELECT name FROM pragma_table_info('users')
			SELECT * FROM pragma_database_list
			SELECT count(*) FROM pragma_table_list
			SELECT * FROM pragma_function_list()
			SELECT * FROM dbstat
			SELECT data FROM sqlite_dbpage
			SELECT count(*) FROM sqlite_dbpage
			SELECT load_extension('/tmp/x.so')
			SELECT sqlite_version()
			SELECT sqlite_source_id()
			SELECT sqlite_compileoption_get(1)
			SELECT sqlite_compileoption_used('x')
			SELECT sqlite_offset(name) FROM items
			SELECT fts5(1)
			SELECT fts5_source_id()
			SELECT sqlite_log(1, 'x')
			SELECT rtreecheck('x')
			SELECT total_changes()
			INSERT INTO items VALUES (9, 'x', 1)
			INSERT INTO notes SELECT id, text FROM secrets
			INSERT INTO notes(text) SELECT password FROM users
			INSERT INTO notes(text) VALUES ((SELECT text FROM secrets))
			INSERT INTO notes(text) VALUES ('x') RETURNING (SELECT text FROM secrets)
			UPDATE notes SET text = (SELECT password FROM users)
			UPDATE notes SET text = s.text FROM secrets AS s
			UPDATE users SET password = 'x'
			UPDATE users SET name = password
			UPDATE users SET id = 2
			UPDATE users SET rowid = 2
			UPDATE users SET name = 'x', password = 'y'
			UPDATE users SET name = 'b' RETURNING password
			INSERT INTO users VALUES (2, 'x', 'y')
			INSERT INTO users(id, name) VALUES (2, 'x')
			INSERT OR REPLACE INTO users(id, name, password) VALUES (1, 'x', 'y')
			REPLACE INTO users(id, name) VALUES (1, 'x')
			DELETE FROM users
			DELETE FROM users WHERE id = 1
			DELETE FROM items
			DELETE FROM items WHERE id = 1
			DELETE FROM secrets
			UPDATE items SET price = 0
			UPDATE items SET price = 0 WHERE 0
			DELETE FROM sqlite_sequence
			INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 1, '')
			INSERT INTO docs VALUES ('a', 'b')
			DELETE FROM docs
			INSERT INTO docs(docs) VALUES ('rebuild')
			INSERT INTO audited VALUES ('x')
			SELECT items.name FROM items NATURAL JOIN secrets
			SELECT items.id FROM items JOIN secrets USING (id)
			SELECT items.id FROM items RIGHT JOIN secrets USING (id)
			SELECT count(*) FROM items FULL JOIN secrets USING(id)
			WITH g(text) AS (VALUES ('the secret')) SELECT 1 FROM g NATURAL JOIN secrets
			WITH g(password) AS (VALUES ('hunter2')) SELECT name FROM g JOIN users USING (password)
			WITH g(password) AS (VALUES ('hunter2')) SELECT name FROM users natural/**/join g
			WITH g(password) AS (VALUES ('hunter2')) SELECT $a(') FROM users NATURAL JOIN g -- ')
			WITH g(password) AS (VALUES ('hunter2')) SELECT '''', "'" FROM users NATURAL JOIN g
			WITH g(password) AS (VALUES ('hunter2')) SELECT 1 AS [a'b] FROM users NATURAL JOIN g
			UPDATE users SET name = 'b' RETURNING *
			UPDATE users SET name = 'b' RETURNING users.password
			SELECT u.* FROM users AS u
			SELECT users.* FROM users, items
			SELECT (SELECT users.password) FROM users
			SELECT id FROM users WHERE (id, password) IN (VALUES (1, 'hunter2'))
			SELECT id FROM users WHERE (id, name, password) = (1, 'ann', 'hunter2')
			SELECT 1 IN secrets
			SELECT row_number() OVER (ORDER BY password) FROM users
			SELECT sum(id) FILTER (WHERE password > 'a') FROM users
			SELECT id FROM users LIMIT (SELECT count(*) FROM secrets)
			SELECT CASE WHEN password > 'a' THEN 1 END FROM users
			SELECT coalesce(password, 1) FROM users
			SELECT json_group_array(password) FROM users
			INSERT INTO notes SELECT * FROM secrets
			INSERT INTO notes(id) VALUES (1) ON CONFLICT (id) DO UPDATE SET text = (SELECT text FROM secrets)
			DELETE FROM notes WHERE id IN (SELECT id FROM secrets)
			EXPLAIN SELECT text FROM secrets
			EXPLAIN QUERY PLAN SELECT text FROM secrets`},
	} {
		for _, sql := range lines(group.sql) {
			checkCode(t, c, group.policy, sql, group.code)
		}
	}
	// What no policy allows.
	for _, sql := range lines(neverAllowed) {
		for _, p := range []*engine.Policy{reader, everything, vetted} {
			checkCode(t, c, p, sql, denied)
		}
	}
	for _, sql := range lines(`
		SELECT password FROM users
		SELECT text FROM leak
		SELECT body FROM private WHERE private MATCH 'hidden'
		INSERT INTO audited VALUES ('x')
		UPDATE secrets SET text = 'new'
		SELECT total_changes(), changes(), last_insert_rowid()
		WITH c AS (SELECT 1) SELECT count(*) FROM c
		INSERT INTO private VALUES ('x y')
		INSERT INTO secrets(text) VALUES (hex(randomblob(8)))
		DELETE FROM private`) {
		checkCode(t, c, vetted, sql, ok)
		checkCode(t, c, everything, sql, ok)
	}
	checkCode(t, c, vetted, "SELECT sql FROM sqlite_schema", ok)
	checkCode(t, c, everything, "SELECT sql FROM sqlite_schema", denied)
	granted := &engine.Policy{Name: "schema", Read: map[string]engine.Columns{"sqlite_master": {"name": true}}}
	checkCode(t, c, granted, "SELECT name FROM sqlite_schema", ok)
	checkCode(t, c, granted, "SELECT sql FROM sqlite_master", denied)
	if rows, err := all(c, nil, engine.Limits{}, "SELECT text FROM secrets UNION ALL SELECT password FROM users"); err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
}

const neverAllowed = `
	ATTACH '/tmp/x.db' AS x
	ATTACH ':memory:' AS x
	DETACH main
	PRAGMA query_only = off
	PRAGMA table_info(users)
	PRAGMA data_version
	PRAGMA writable_schema = on
	pragma journal_mode = delete
	PRAGMA main.user_version
	EXPLAIN PRAGMA query_only = off
	EXPLAIN QUERY PLAN PRAGMA query_only = off
	BEGIN
	BEGIN IMMEDIATE
	COMMIT
	END
	ROLLBACK
	SAVEPOINT a
	RELEASE a
	ROLLBACK TO a
	EXPLAIN COMMIT
	VACUUM
	VACUUM INTO '/tmp/stolen.db'
	REINDEX
	ANALYZE
	CREATE TABLE x(a)
	CREATE TEMP TABLE x(a)
	CREATE TABLE x AS SELECT 1
	CREATE INDEX x ON items(name)
	CREATE VIEW x AS SELECT 1
	CREATE TEMP VIEW x AS SELECT 1
	CREATE TRIGGER x AFTER INSERT ON items BEGIN SELECT 1; END
	CREATE TEMP TRIGGER x AFTER INSERT ON items BEGIN SELECT 1; END
	CREATE VIRTUAL TABLE x USING fts5(a)
	CREATE VIRTUAL TABLE temp.x USING dbstat
	DROP TABLE items
	DROP TABLE IF EXISTS nothing
	DROP VIEW names
	DROP INDEX x
	DROP TRIGGER audit
	ALTER TABLE items RENAME TO x
	ALTER TABLE items ADD COLUMN x
	ALTER TABLE items DROP COLUMN name
	/* */ PRAGMA query_only
	;VACUUM
	-- x
	SELECT * FROM pragma_user_version
	SELECT load_extension('x')
	SELECT data FROM sqlite_dbpage
	SELECT pageno FROM dbstat
	SELECT sqlite_compileoption_used('x')
	INSERT INTO sqlite_sequence VALUES ('x', 1)`

func checkCode(t *testing.T, c *Conn, p *engine.Policy, sql string, want engine.Code) {
	t.Helper()
	execAll(t, c, "SAVEPOINT test")
	for _, kept := range []bool{false, true} {
		_, err := allOf(c, p, engine.Limits{}, &engine.Statement{SQL: sql, Kept: kept})
		if got := codeOf(t, err); got != want {
			t.Errorf("%s: %s: %v, want %q", p.Name, sql, err, want)
		}
	}
	execAll(t, c, "ROLLBACK TO test", "RELEASE test")
}

func lines(s string) (out []string) {
	for _, line := range strings.Split(s, "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "-- x" {
			out = append(out, line)
		}
	}
	return out
}

// Direct writing of what a full-text index is kept in is SQLite's to refuse (defensive mode), for all policies.
func TestShadowTablesAreNotWritten(t *testing.T) {
	c := authorizerFile(t)
	for _, p := range []*engine.Policy{reader, everything, vetted} {
		for _, sql := range lines(`
			UPDATE sqlite_schema SET sql = ''
			DELETE FROM sqlite_master
			DELETE FROM drafts_data
			INSERT INTO drafts_content VALUES (9, 'x')
			UPDATE drafts_config SET v = 9`) {
			if _, err := all(c, p, engine.Limits{}, sql); err == nil {
				t.Errorf("%s: %s was done", p.Name, sql)
			}
		}
	}
}

// A statement that was compiled for one is not another's, also after the schema has changed and while it runs.
func TestPolicyOfKeptStatements(t *testing.T) {
	path, writer := newFile(t, "CREATE TABLE a(x)", "CREATE TABLE b(x)", "INSERT INTO a VALUES (1), (2)", "INSERT INTO b VALUES ('b')",
		"CREATE VIEW v AS SELECT x FROM a")
	c := openTest(t, Options{Path: path, ReadOnly: true})
	onlyA := &engine.Policy{Name: "a", Read: map[string]engine.Columns{"a": nil, "v": nil}}
	statement := &engine.Statement{SQL: "SELECT x FROM v", Kept: true}
	other := &engine.Statement{SQL: "SELECT x FROM b", Kept: true}
	for range 2 {
		if _, err := allOf(c, onlyA, engine.Limits{}, statement); err != nil {
			t.Fatal(err)
		}
		if _, err := allOf(c, vetted, engine.Limits{}, other); err != nil {
			t.Fatal(err)
		}
		if _, err := allOf(c, onlyA, engine.Limits{}, other); codeOf(t, err) != engine.CodeDenied {
			t.Fatal("b was read by a role that has a only:", err)
		}
	}
	// The same text means b now: it is compiled anew inside the step.
	execAll(t, writer, "DROP VIEW v", "CREATE VIEW v AS SELECT x FROM b")
	if _, err := allOf(c, vetted, engine.Limits{}, statement); err != nil {
		t.Fatal(err)
	}
	if rows, err := allOf(c, onlyA, engine.Limits{}, statement); codeOf(t, err) != engine.CodeDenied {
		t.Fatal("b was read by way of a view that was changed:", rows, err)
	}
}

func TestForeignKeysNeedTheirParents(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE p(id INTEGER PRIMARY KEY, x)", "CREATE TABLE k(p REFERENCES p(id) ON DELETE CASCADE)",
		"INSERT INTO p VALUES (1, 2)", "INSERT INTO k VALUES (1)")
	child := &engine.Policy{Name: "child", Write: map[string]engine.Columns{"k": nil}}
	checkCode(t, c, child, "INSERT INTO k VALUES (1)", engine.CodeDenied)
	checkCode(t, c, &engine.Policy{Name: "both", Read: map[string]engine.Columns{"p": {"id": true}}, Write: child.Write}, "INSERT INTO k VALUES (1)", "")
	checkCode(t, c, &engine.Policy{Name: "parent", Read: map[string]engine.Columns{"p": nil}, Write: map[string]engine.Columns{"p": nil}},
		"DELETE FROM p WHERE id = 1", engine.CodeDenied)
}

// Whatever stands before it, a PRAGMA that SQLite compiles was seen as one.
func FuzzFirstWord(f *testing.F) {
	for _, s := range []string{"", "/**/", "--\n", "explain ", "explain query plan ", "/*", "\xef\xbb\xbf;", "\v", "SELECT 1;", "/*/*/"} {
		f.Add(s)
	}
	c := openTest(f, Options{Path: Memory})
	f.Fuzz(func(t *testing.T, before string) {
		sql := before + "PRAGMA user_version"
		s, err := c.compile(nil, sql, false)
		if err != nil {
			return
		}
		// "SELECT#PRAGMA user_version" is a parameter by that name.
		pragma := len(s.columns) == 1 && s.columns[0].Name == "user_version" && len(s.names) == 0
		c.give(s)
		if pragma && c.vet(vetted, sql) == nil {
			t.Errorf("%q is a PRAGMA, and was not seen as one", sql)
		}
	})
}

// What a role may run opens no table that it may not read: SQLite's own program says so.
func FuzzRole(f *testing.F) {
	for _, s := range []string{"SELECT a FROM open", "SELECT 1 FROM open NATURAL JOIN secrets", "SELECT $a(') FROM open JOIN secrets USING (a) -- ')",
		"WITH g(a) AS (VALUES (1)) SELECT * FROM g, open", "INSERT INTO open SELECT * FROM secrets", "SELECT [a] FROM \"open\" WHERE 1 IN secrets",
		"SELECT 1 FROM open \xef\xbb\xbfNATURAL JOIN secrets", "UPDATE open SET a = 1 FROM secrets RETURNING *", "EXPLAIN SELECT * FROM secrets"} {
		f.Add(s)
	}
	_, c := newFile(f, "CREATE TABLE open(a, b)", "CREATE TABLE secrets(a UNIQUE, b)")
	roots, err := all(c, nil, engine.Limits{}, "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'secrets'")
	if err != nil || len(roots) != 2 {
		f.Fatal(roots, err)
	}
	role := &engine.Policy{Name: "fuzz", Read: map[string]engine.Columns{"open": nil}, Write: map[string]engine.Columns{"open": nil}}
	f.Fuzz(func(t *testing.T, sql string) {
		info, err := c.Inspect(role, sql)
		if err != nil || (len(info.Columns) == 8 && info.Columns[1].Name == "opcode") || (len(info.Columns) == 4 && info.Columns[3].Name == "detail") {
			return // refused, or an EXPLAIN, which opens nothing
		}
		s, err := c.compile(nil, "EXPLAIN "+sql, false)
		if err != nil {
			return
		}
		defer c.give(s)
		for lib.Xsqlite3_step(c.tls, s.stmt) == lib.SQLITE_ROW {
			operation := libc.GoString(lib.Xsqlite3_column_text(c.tls, s.stmt, 1))
			page := lib.Xsqlite3_column_int64(c.tls, s.stmt, 3)
			if (operation == "OpenRead" || operation == "OpenWrite") && (page == roots[0][0].Int || page == roots[1][0].Int) {
				t.Fatalf("%q reads the secrets", sql)
			}
		}
	})
}

// Who may change a column, and not delete rows, deletes none by replacing them.
func TestReplacingRows(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE whole(x PRIMARY KEY, y)", "CREATE TABLE part(id INTEGER PRIMARY KEY, u UNIQUE, v)",
		"CREATE TABLE fires(x, y)", "CREATE TRIGGER tr AFTER INSERT ON fires BEGIN UPDATE part SET u = new.y WHERE id = new.x; END",
		"INSERT INTO part VALUES (1, 1, 1), (2, 2, 2)", "INSERT INTO whole VALUES (1, 1), (2, 2)")
	role := &engine.Policy{Name: "role", Read: map[string]engine.Columns{"*": nil},
		Write: map[string]engine.Columns{"whole": nil, "fires": nil, "part": {"u": true}}}
	for code, list := range map[engine.Code]string{"": `
		UPDATE part SET u = 3 WHERE id = 1
		UPDATE OR IGNORE part SET u = 2 WHERE id = 1
		UPDATE part SET u = 4 WHERE id = 1 OR replace(u, 1, 2) = 7
		UPDATE OR REPLACE whole SET x = 2 WHERE x = 1
		INSERT OR REPLACE INTO whole VALUES (1, 1)
		REPLACE INTO whole VALUES (1, 1)
		INSERT INTO fires VALUES (1, 5)`, engine.CodeDenied: `
		UPDATE OR REPLACE part SET u = 2 WHERE id = 1
		update/**/or -- x
		WITH c AS (SELECT 2 AS n) UPDATE OR REPLACE part SET u = (SELECT n FROM c) WHERE id = 1
		INSERT OR REPLACE INTO part VALUES (1, 2, 3)
		INSERT OR REPLACE INTO fires VALUES (1, 2)
		REPLACE INTO fires VALUES (1, 2)
		WITH c AS (SELECT 1) REPLACE INTO fires VALUES (1, 2)
		EXPLAIN UPDATE OR REPLACE part SET u = 2`} {
		for _, sql := range lines(list) {
			if sql == "update/**/or -- x" {
				sql += "\nreplace part SET u = 2"
			}
			checkCode(t, c, role, sql, code)
			checkCode(t, c, vetted, sql, "")
		}
	}
	// A kept statement is compiled anew in its first step, and asked about then.
	execAll(t, c, "CREATE TABLE later(x PRIMARY KEY)")
	kept := &engine.Statement{SQL: "INSERT OR REPLACE INTO later VALUES (1)", Kept: true}
	later := &engine.Policy{Name: "later", Read: role.Read, Write: map[string]engine.Columns{"later": nil, "part": {"u": true}}}
	if _, err := allOf(c, later, engine.Limits{}, kept); err != nil {
		t.Fatal(err)
	}
	execAll(t, c, "CREATE TRIGGER trl AFTER INSERT ON later BEGIN UPDATE part SET u = 2 WHERE id = 1; END")
	if _, err := allOf(c, role, engine.Limits{}, &engine.Statement{SQL: "SELECT 1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := allOf(c, later, engine.Limits{}, kept); codeOf(t, err) != engine.CodeDenied {
		t.Error("a kept statement replaces rows by a trigger that came later:", err)
	}
	if rows, err := all(c, nil, engine.Limits{}, "SELECT count(*) FROM part"); err != nil || rows[0][0].Int != 2 {
		t.Error(rows, err)
	}
	// A column may be declared to displace rows: then it does.
	execAll(t, c, "CREATE TABLE declared(id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT REPLACE)", "INSERT INTO declared VALUES (1, 1), (2, 2)")
	displaces := &engine.Policy{Name: "displaces", Read: role.Read, Write: map[string]engine.Columns{"declared": {"u": true}}}
	checkCode(t, c, displaces, "UPDATE OR REPLACE declared SET u = 2 WHERE id = 1", engine.CodeDenied)
	checkCode(t, c, displaces, "DELETE FROM declared", engine.CodeDenied)
	checkCode(t, c, displaces, "UPDATE declared SET u = 2 WHERE id = 1", "")
}

func TestReplacesRows(t *testing.T) {
	for sql, want := range map[string]bool{
		"UPDATE OR REPLACE t": true, "insert Or replace into t": true, "REPLACE INTO t": true, "WITH a AS (SELECT 1) REPLACE INTO t": true,
		"update/**/or--\nreplace": true, "update \xef\xbb\xbfor replace": true, "?1update or replace": true, "explain update or replace": true,
		"UPDATE OR IGNORE t": false, "update 'or' replace": false, "a or replace(b)": false, "update or \"replace\"": false, "replace(a) into": false,
		"-- update or replace": false, "update;or replace": false, "updated or replace": false, "$update or replace": false, "or replace": false, "": false,
	} {
		if got := replacesRows(sql); got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
}

// A word that SQLite takes for a keyword is never taken for a part of something else.
func TestJoinsByName(t *testing.T) {
	for sql, want := range map[string]bool{
		"a NATURAL JOIN b": true, "a join b uSiNg(x)": true, "'natural'": false, `"natural"`: false, "`using`": false, "[using]": false,
		"-- using": false, "--\nusing": true, "/* using */": false, "/* */using": true, "/* using": false, "'it''s' using": true, "'it''s using'": false,
		"$a(') using '": true, ":a(\") using \"": true, "@a(using)": false, "$a::b(') natural '": true, "$(') natural '": false, "naturally": false,
		"natural$": false, "$natural": false, "using": true, "/*": false, "/": false, "": false, "'": false, "x'00' using": true, "/*/ using": false,
		"/**/ using": true, "a.using": true, "\x80using": false, "$a( natural": true,
		"a \xef\xbb\xbfnatural": true, "a\xef\xbb\xbfnatural": false, "\xef\xbbnatural": false, "1 \xef\xbb\xbf\xef\xbb\xbfusing(a)": true,
	} {
		if got := joinsByName(sql); got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
}
