package lite

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func TestValues(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE v(x)")
	big := bytes.Repeat([]byte{0, 1, 254}, 100_000)
	for _, test := range []struct{ in, out engine.Value }{
		{engine.IntegerOf(math.MaxInt64), engine.IntegerOf(math.MaxInt64)},
		{engine.IntegerOf(math.MinInt64), engine.IntegerOf(math.MinInt64)},
		{engine.IntegerOf(1<<53 + 1), engine.IntegerOf(1<<53 + 1)},
		{engine.IntegerOf(0), engine.IntegerOf(0)},
		{engine.IntegerOf(-1), engine.IntegerOf(-1)},
		{engine.RealOf(1), engine.RealOf(1)},
		{engine.RealOf(math.SmallestNonzeroFloat64), engine.RealOf(math.SmallestNonzeroFloat64)},
		{engine.RealOf(-math.MaxFloat64), engine.RealOf(-math.MaxFloat64)},
		{engine.RealOf(math.Inf(1)), engine.RealOf(math.Inf(1))},
		{engine.RealOf(math.NaN()), engine.Value{}},
		{engine.TextOf(""), engine.TextOf("")},
		{engine.TextOf("a\x00b"), engine.TextOf("a\x00b")},
		{engine.TextOf("grüße 🙂"), engine.TextOf("grüße 🙂")},
		{engine.TextOf("\xff\xfe"), engine.TextOf("\xff\xfe")},
		{engine.BlobOf(nil), engine.BlobOf([]byte{})},
		{engine.BlobOf([]byte{}), engine.BlobOf([]byte{})},
		{engine.BlobOf(big), engine.BlobOf(big)},
		{engine.Value{}, engine.Value{}},
	} {
		for _, sql := range []string{"SELECT ?1", "INSERT INTO v VALUES (:v) RETURNING x"} {
			a := arg(test.in)
			if sql[0] == 'I' {
				a = named("v", test.in)
			}
			rows, err := all(c, vetted, engine.Limits{}, sql, a)
			if err != nil || len(rows) != 1 {
				t.Fatalf("%s of %v: %v", sql, test.in, err)
			}
			got := rows[0][0]
			if got.Kind != test.out.Kind || got.Int != test.out.Int || got.Real != test.out.Real || !bytes.Equal(got.Bytes, test.out.Bytes) {
				t.Errorf("%s of %v gave %v", sql, test.in, got)
			}
			if got.Kind >= engine.Text && got.Bytes == nil {
				t.Errorf("%s of %v gave no bytes, not even none", sql, test.in)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	_, c := newFile(t)
	one, two := engine.IntegerOf(1), engine.IntegerOf(2)
	for _, test := range []struct {
		sql  string
		args []engine.Arg
		code engine.Code
	}{
		{"SELECT ?, ?", []engine.Arg{arg(one), arg(two)}, ""},
		{"SELECT :a, @b, $c", []engine.Arg{named("a", one), named("b", one), named("c", one)}, ""},
		{"SELECT :a, @a", []engine.Arg{named("a", one)}, ""},
		{"SELECT :a, :a", []engine.Arg{named("a", one)}, ""},
		{"SELECT :a, :b", []engine.Arg{arg(one), arg(two)}, ""},
		{"SELECT ?2", []engine.Arg{arg(one), arg(two)}, ""},
		{"SELECT ?", nil, engine.CodeParameter},
		{"SELECT ?", []engine.Arg{arg(one), arg(two)}, engine.CodeParameter},
		{"SELECT :a", []engine.Arg{named("b", one)}, engine.CodeParameter},
		{"SELECT :a, :b", []engine.Arg{named("a", one)}, engine.CodeParameter},
		{"SELECT 1", []engine.Arg{arg(one)}, engine.CodeParameter},
	} {
		_, err := all(c, vetted, engine.Limits{}, test.sql, test.args...)
		if got := codeOf(t, err); got != test.code {
			t.Errorf("%s %v: %v", test.sql, test.args, err)
		}
	}
}

func TestErrors(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL, k CHECK (k > 0)) ", "CREATE TABLE f(p REFERENCES p(id))",
		"CREATE TABLE s(x INTEGER) STRICT", "CREATE TRIGGER no BEFORE DELETE ON p BEGIN SELECT raise(ABORT, 'never'); END",
		"INSERT INTO p VALUES (1, 'a', 1, 1)")
	for _, test := range []struct {
		sql    string
		code   engine.Code
		offset int
		says   string
	}{
		{"SELEC 1", engine.CodeSQL, 0, `near "SELEC": syntax error`},
		{"SELECT nope FROM p", engine.CodeSQL, 7, "no such column: nope"},
		{`SELECT "nope" FROM p`, engine.CodeSQL, 7, "no such column"},
		{"SELECT 1; SELECT 2", engine.CodeSQL, 10, "more than one"},
		{"SELECT 1; garbage", engine.CodeSQL, 10, "more than one"},
		{"", engine.CodeSQL, -1, "no statement"},
		{" -- only a comment", engine.CodeSQL, -1, "no statement"},
		{"SELECT 'a\x00b'", engine.CodeSQL, 9, "zero byte"},
		{"SELECT x'0", engine.CodeSQL, 7, "unrecognized token"},
		{"INSERT INTO p VALUES (1, 'b', 1, 1)", engine.CodeConstraintPrimaryKey, -1, "p.id"},
		{"INSERT INTO p VALUES (2, 'a', 1, 1)", engine.CodeConstraintUnique, -1, "p.u"},
		{"INSERT INTO p VALUES (2, 'b', NULL, 1)", engine.CodeConstraintNotNull, -1, "p.n"},
		{"INSERT INTO p VALUES (2, 'b', 1, 0)", engine.CodeConstraintCheck, -1, "k > 0"},
		{"INSERT INTO f VALUES (7)", engine.CodeConstraintForeignKey, -1, "FOREIGN KEY"},
		{"DELETE FROM p", engine.CodeConstraintTrigger, -1, "never"},
		{"INSERT INTO s VALUES ('x')", engine.CodeConstraintDatatype, -1, "INTEGER"},
		{"SELECT zeroblob(1000000000)", engine.CodeTooLarge, -1, ""},
		{"SELECT hex(zeroblob(60000000))", engine.CodeTooLarge, -1, ""},
		{"SELECT " + strings.Repeat(" ", maxSQL), engine.CodeTooLarge, -1, ""},
		{"SELECT " + strings.Repeat("(", 3000) + "1" + strings.Repeat(")", 3000), engine.CodeSQL, -2, ""},
		{"SELECT 1" + strings.Repeat("+1", 3000), engine.CodeSQL, -2, "maximum depth"},
		{"SELECT 1" + strings.Repeat(" UNION SELECT 1", 200), engine.CodeSQL, -2, "too many terms"},
		{"SELECT max(1" + strings.Repeat(",1", 200) + ")", engine.CodeSQL, -2, "too many arguments"},
		{"SELECT 'x' LIKE '" + strings.Repeat("%x", 6000) + "'", engine.CodeSQL, -2, "too complex"},
		{"SELECT 1" + strings.Repeat(",1", 3000), engine.CodeSQL, -2, "too many columns"},
		{"SELECT ?99999", engine.CodeSQL, -2, "variable number"},
	} {
		_, err := all(c, vetted, engine.Limits{}, test.sql)
		got := codeOf(t, err)
		if got != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.60s: %v", test.sql, err)
			continue
		}
		if e := ErrorOf(err); e.Offset != test.offset && test.offset != -2 {
			t.Errorf("%.60s: offset %d, want %d", test.sql, e.Offset, test.offset)
		}
		if strings.Contains(err.Error(), c.Path()) {
			t.Errorf("%.60s: the message names the file: %v", test.sql, err)
		}
	}
}

func TestPolicyBounds(t *testing.T) {
	_, c := newFile(t)
	p := &engine.Policy{Name: "small", MaxSQL: 40, MaxDepth: 5}
	checkCode(t, c, p, "SELECT 1+1+1", "")
	checkCode(t, c, p, "SELECT 1+1+1+1+1+1+1+1+1", engine.CodeSQL)
	checkCode(t, c, vetted, "SELECT 1+1+1+1+1+1+1+1+1", "")
	checkCode(t, c, p, "SELECT 1 -- "+strings.Repeat("x", 40), engine.CodeTooLarge)
}

func TestLimits(t *testing.T) {
	_, c := newFile(t)
	const ten = "WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 10) SELECT x, 'abcd' FROM c"
	for _, test := range []struct {
		limits engine.Limits
		rows   int
		code   engine.Code
	}{
		{engine.Limits{}, 10, ""},
		{engine.Limits{MaxRows: 10}, 10, ""},
		{engine.Limits{MaxRows: 9}, 9, engine.CodeTooManyRows},
		{engine.Limits{MaxBytes: 120}, 10, ""},
		{engine.Limits{MaxBytes: 119}, 9, engine.CodeTooManyBytes},
		{engine.Limits{MaxBytes: 1}, 0, engine.CodeTooManyBytes},
	} {
		rows, err := all(c, vetted, test.limits, ten)
		if len(rows) != test.rows || codeOf(t, err) != test.code {
			t.Errorf("%+v: %d rows, %v", test.limits, len(rows), err)
		}
	}
}

const endless = "WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c WHERE x < 0"

func TestDeadline(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(x)")
	run := func(ctx context.Context, sql string, l engine.Limits) error {
		rows, err := c.Start(ctx, vetted, &engine.Statement{SQL: sql, Kept: true}, l)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	const rows = "WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c"
	for _, sql := range []string{endless, rows, "INSERT INTO t " + rows} {
		if err := run(t.Context(), sql, engine.Limits{Timeout: 20 * time.Millisecond}); codeOf(t, err) != engine.CodeTimeout {
			t.Error("timeout:", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := run(ctx, sql, engine.Limits{}); codeOf(t, err) != engine.CodeCancelled {
			t.Error("cancelled:", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
		if err := run(ctx, sql, engine.Limits{}); codeOf(t, err) != engine.CodeTimeout {
			t.Error("deadline of the context:", err)
		}
		cancel()
	}
	started := make(chan struct{})
	go func() {
		<-started
		for !c.deadline.flag.Load() {
			c.Interrupt()
		}
	}()
	got, err := c.Start(t.Context(), vetted, &engine.Statement{SQL: rows}, engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	close(started)
	for got.Next() {
	}
	if codeOf(t, got.Err()) != engine.CodeCancelled {
		t.Error("interrupted:", got.Err())
	}
	got.Close()
	c.Interrupt() // nothing that runs
	execAll(t, c, "SELECT count(*) FROM (WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 10000) SELECT x FROM c)")
	// Nothing of it is left.
	if rows, err := all(c, vetted, engine.Limits{}, "SELECT count(*) FROM t"); err != nil || rows[0][0].Int != 0 {
		t.Error(rows, err)
	}
}

func TestInspect(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b VARCHAR(9))", "CREATE TABLE u(x)")
	info, err := c.Inspect(vetted, "SELECT t.a, upper(b) AS B, b AS b, x FROM t, u WHERE a = :id AND x > ?2")
	if err != nil || !info.ReadOnly || strings.Join(info.Tables, " ") != "t u" || len(info.Parameters) != 2 || info.Parameters[0] != "id" {
		t.Fatalf("%+v %v", info, err)
	}
	if want := []engine.Column{{Name: "a", Type: "integer"}, {Name: "B"}, {Name: "b", Type: "varchar(9)"}, {Name: "x"}}; len(info.Columns) != 4 ||
		info.Columns[0] != want[0] || info.Columns[1] != want[1] || info.Columns[2] != want[2] || info.Columns[3] != want[3] {
		t.Fatalf("%+v", info.Columns)
	}
	role := &engine.Policy{Name: "r", Read: map[string]engine.Columns{"t": nil}}
	if info, err = c.Inspect(role, "SELECT a FROM t"); err != nil || strings.Join(info.Tables, " ") != "t" {
		t.Fatalf("%+v %v", info, err)
	}
	if info, err = c.Inspect(vetted, "DELETE FROM t"); err != nil || info.ReadOnly {
		t.Fatalf("%+v %v", info, err)
	}
}

// A SELECT * has the columns of the schema that it was read under.
func TestColumnsAfterSchemaChange(t *testing.T) {
	path, writer := newFile(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES (1)")
	c := openTest(t, Options{Path: path, ReadOnly: true})
	s := &engine.Statement{SQL: "SELECT * FROM t", Kept: true}
	for want := 1; want < 4; want++ {
		rows, err := allOf(c, vetted, engine.Limits{}, s)
		if err != nil || len(rows) != 1 || len(rows[0]) != want {
			t.Fatal(want, rows, err)
		}
		execAll(t, writer, "ALTER TABLE t ADD COLUMN c"+strings.Repeat("x", want))
	}
}

func TestReadOnly(t *testing.T) {
	path, writer := newFile(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES (1)")
	c := openTest(t, Options{Path: path, ReadOnly: true})
	checkNot := func(p *engine.Policy, sql string, want engine.Code) {
		t.Helper()
		if _, err := all(c, p, engine.Limits{}, sql); codeOf(t, err) != want {
			t.Errorf("%s: %v", sql, err)
		}
	}
	checkNot(vetted, "INSERT INTO t VALUES (2)", engine.CodeNotReadOnly)
	checkNot(vetted, "DELETE FROM t RETURNING a", engine.CodeNotReadOnly)
	checkNot(nil, "DELETE FROM t", engine.CodeReadOnlyDatabase)
	execAll(t, writer, "BEGIN IMMEDIATE")
	other := openTest(t, Options{Path: path})
	if err := other.Exec("BEGIN IMMEDIATE"); codeOf(t, err) != engine.CodeBusy {
		t.Error(err)
	}
	checkNot(vetted, "SELECT a FROM t", "")
	execAll(t, writer, "ROLLBACK")
}

func TestKeptStatementsAreBounded(t *testing.T) {
	_, c := newFile(t)
	for i := range 3 * maxKept {
		if _, err := allOf(c, vetted, engine.Limits{}, &engine.Statement{SQL: "SELECT 1" + strings.Repeat(" ", i), Kept: true}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.kept.by); n != maxKept {
		t.Fatal(n)
	}
	compiled := c.Stats().Compiled
	for range 3 {
		for _, sql := range []string{"SELECT 7", "SELECT 8"} {
			if _, err := allOf(c, vetted, engine.Limits{}, &engine.Statement{SQL: sql, Kept: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := c.Stats().Compiled - compiled; n != 2 {
		t.Fatal(n)
	}
}

func TestAllocations(t *testing.T) {
	_, c := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES (1, 'one')")
	s := &engine.Statement{SQL: "SELECT a, b FROM t WHERE a = ?", Args: []engine.Arg{arg(engine.IntegerOf(1))}, Kept: true}
	n := testing.AllocsPerRun(100, func() {
		rows, err := c.Start(t.Context(), vetted, s, engine.Limits{Timeout: time.Second, MaxRows: 10, MaxBytes: 100})
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			if rows.Value(0).Int != 1 || string(rows.Value(1).Bytes) != "one" {
				t.Fatal("another row")
			}
		}
		rows.Close()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func benchmarkSelect(b *testing.B, sql string) {
	_, c := newFile(b, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL)",
		"WITH c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 10000) INSERT INTO t SELECT x, 'name ' || x, x * 1.5 FROM c")
	s := &engine.Statement{SQL: sql, Args: []engine.Arg{arg(engine.IntegerOf(1))}, Kept: true}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Args[0].Int = int64(i%9900 + 1)
		rows, err := c.Start(b.Context(), vetted, s, engine.Limits{Timeout: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
			for j := range rows.Columns() {
				_ = rows.Value(j)
			}
		}
		rows.Close()
	}
}

func BenchmarkPointSelect(b *testing.B) { benchmarkSelect(b, "SELECT a, b, c FROM t WHERE a = ?") }

func BenchmarkSelect100(b *testing.B) {
	benchmarkSelect(b, "SELECT a, b, c FROM t WHERE a >= ?1 AND a < ?1 + 100")
}
