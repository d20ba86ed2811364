package rqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// transcript reads a whole answer.
func transcript(r io.Reader) (string, error) {
	a := newAnswer(r, 1<<16)
	if err := a.open(); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		var head result
		more, err := a.begin(&head)
		if err != nil {
			return out.String(), err
		}
		if !more {
			fmt.Fprintf(&out, "end %q", a.failure)
			return out.String(), nil
		}
		for {
			row, err := a.row(&head)
			if err != nil {
				return out.String(), err
			}
			if !row {
				break
			}
			values, size, err := a.rowOf(nil, len(a.cells))
			if err != nil {
				return out.String(), err
			}
			fmt.Fprintf(&out, "%+v %d ", values, size)
		}
		fmt.Fprintf(&out, "%+v ", head)
	}
}

// FuzzAnswer: any bytes are read without a panic, and in whatever pieces they come they say the same.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		oneRow, inserted, failing("x"), fakeSchema, `{}`, `{"results":[]}`, `{"results":null}`,
		`{"results":[{"columns":["a"],"values":[["i1"],[1.5e3],[null],["t\u00e9\ud83d\ude00\n"],["b00fF"],["r+"]],"time":1}],"time":2,"x":[{"y":[true]}]}`,
		`{"results":[{"error":"a \"quoted\" one"},{"values":[[]]},{"values":[null]}]}`, `{"results":[{"values":[["bzz"]]}]}`, `[[[[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := transcript(bytes.NewReader(data))
		pieces, pieceErr := transcript(iotest.OneByteReader(bytes.NewReader(data)))
		if whole != pieces || fmt.Sprint(err) != fmt.Sprint(pieceErr) {
			t.Errorf("%q, %v: in pieces %q, %v", whole, err, pieces, pieceErr)
		}
		if err != nil && !errors.Is(err, errSyntax) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errLossy) && !errors.Is(err, errLong) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

func TestAnswerBounds(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
	}{
		{`{"results":[{"values":[["t` + strings.Repeat("x", 1<<17) + `"]]}]}`, errLong},
		{`{"results":[{"values":[[` + strings.Repeat("1", 1<<17) + `]]}]}`, errLong},
		{`{"x":` + strings.Repeat("[", 100), errSyntax},
		{`{"results":[{"values":[["t\ufffd"]]}]}`, errLossy},
		{`{"results":[{"values":[["t` + "\ufffd" + `"]]}]}`, nil},
		{`{"results":[{"values":[[true]]}]}`, errSyntax},
		{`{"results":[{"values":[[0x10]]}]}`, errSyntax},
		{`{"results":[{"values":[["i1",]]}]}`, errSyntax},
		{`{"results":[{"values":[["i1"`, io.ErrUnexpectedEOF},
	} {
		if _, err := transcript(strings.NewReader(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%.40s: %v", c.text, err)
		}
	}
}

func TestAppendValue(t *testing.T) {
	for _, c := range []struct {
		value engine.Value
		want  string
	}{
		{engine.IntegerOf(-1 << 63), "-9223372036854775808"},
		{engine.RealOf(1), "1.0"}, {engine.RealOf(1e21), "1e+21"}, {engine.RealOf(-0.25), "-0.25"},
		{engine.TextOf("a\x00\"\\é"), `"a\u0000\"\\é"`}, {engine.TextOf("x'4'"), `"x'4'"`}, {engine.TextOf("x'zz'"), `"x'zz'"`},
		{engine.BlobOf([]byte{0, 255}), "[0,255]"}, {engine.Value{Kind: engine.Blob}, "[]"}, {engine.Value{}, "null"},
		{engine.TextOf(" X'4142' \n"), ""}, {engine.TextOf("x''"), ""}, {engine.TextOf("\xc3"), ""},
	} {
		got, err := appendValue(nil, c.value)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %s, %v", c.value, got, err)
		}
	}
}

func TestArrange(t *testing.T) {
	one, two := engine.IntegerOf(1), engine.IntegerOf(2)
	for _, c := range []struct {
		args       []engine.Arg
		parameters []string
		want       []engine.Value
	}{
		{[]engine.Arg{{Name: "b", Value: two}, {Name: "a", Value: one}}, []string{"a", "b"}, []engine.Value{one, two}},
		{[]engine.Arg{{Value: one}, {Value: two}}, []string{"", "b"}, []engine.Value{one, two}},
		{[]engine.Arg{{Name: "a", Value: one}}, []string{"a", "a"}, []engine.Value{one, one}}, // :a and @a
		{[]engine.Arg{{Value: one}}, []string{"", ""}, nil},
		{[]engine.Arg{{Value: one}, {Value: one}}, []string{""}, nil},
		{[]engine.Arg{{Name: "c", Value: one}}, []string{"a"}, nil},
		{nil, []string{"a"}, nil},
	} {
		got, err := arrange(c.args, c.parameters)
		if c.want == nil && code(err) != engine.CodeParameter || c.want != nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v for %q: %+v, %v", c.args, c.parameters, got, err)
		}
	}
}

func TestTypedReturning(t *testing.T) {
	columns := []engine.Column{{Name: "a"}, {Name: "b"}, {Name: "c d"}}
	for _, c := range []struct {
		sql  string
		want []string // the expressions; nil: refused
	}{
		{"INSERT INTO t VALUES(1) RETURNING a, b AS x, c y", []string{"a", "b", "c"}},
		{"INSERT INTO t VALUES(1) RETURNING *", []string{`"a"`, `"b"`, `"c d"`}},
		{"INSERT INTO t VALUES(1) RETURNING 1, *", []string{"1", `"b"`, `"c d"`}},
		{"DELETE FROM t WHERE x=' returning ' RETURNING f(a, b), (SELECT 1) 'z', a COLLATE nocase",
			[]string{"f(a, b)", "(SELECT 1)", "a COLLATE nocase"}},
		{"DELETE FROM t RETURNING a IS NULL, a ISNULL, CASE a WHEN 1 THEN 2 END", []string{"a IS NULL", "a ISNULL", "CASE a WHEN 1 THEN 2 END"}},
		{"DELETE FROM t RETURNING a /* , */ , -- ,\n b,c -1", []string{"a", "b", "c -1"}},
		{"DELETE FROM t RETURNING", nil},
		{"DELETE FROM t", nil},
		{"DELETE FROM t RETURNING a, b", nil},
	} {
		got, err := typedReturning(c.sql, len(columns), columns)
		var list []string
		for _, e := range c.want {
			list = append(list, tagged(e))
		}
		if (err == nil) != (c.want != nil) || err == nil && !strings.HasSuffix(got, "RETURNING "+strings.Join(list, ", ")) {
			t.Errorf("%s: %s, %v", c.sql, got, err)
		}
	}
}

// FuzzLex: tokens are in their order, none is empty, and what is between them is space or comments.
func FuzzLex(f *testing.F) {
	for _, seed := range []string{
		"SELECT 'a''b', \"c\", [d], `e` -- f\n, x'00', 1.5e-3, ?1, :a, @b, $c /* g */;",
		"'", "\"", "[", "/*", "--", "x'", "1e+", ".",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		end := 0
		for _, token := range lex(sql) {
			if token.start < end || token.end <= token.start || token.end > len(sql) {
				t.Fatalf("%+v after %d", token, end)
			}
			if between := strings.TrimLeft(sql[end:token.start], " \t\n\v\f\r"); between != "" && between[0] != '-' && between[0] != '/' {
				t.Fatalf("%q is no token", between)
			}
			end = token.end
		}
	})
}
