package sqlite

import (
	"math"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/configs"
)

// paramOf makes a parameter as a file would.
func paramOf(t *testing.T, values map[string]any) *param {
	t.Helper()
	b, err := configs.NewBlock(paramSpec(), values, "p")
	if err != nil {
		t.Fatal(err)
	}
	if problems := checkParam(b); len(problems) > 0 {
		t.Fatal(problems)
	}
	p := newParam(b)
	return &p
}

// What a URL may say, and what it becomes.
func TestParamText(t *testing.T) {
	integer := map[string]any{"type": "integer"}
	bounded := map[string]any{"type": "integer", "min": 1.0, "max": 10.0}
	number := map[string]any{"type": "number", "min": -0.5, "max": 1e300}
	short := map[string]any{"min_length": 2, "max_length": 3}
	for _, test := range []struct {
		values map[string]any
		text   string
		want   engine.Value
		wrong  string // what the message says
	}{
		{integer, "0", engine.IntegerOf(0), ""},
		{integer, "-9223372036854775808", engine.IntegerOf(math.MinInt64), ""},
		{integer, "9223372036854775807", engine.IntegerOf(math.MaxInt64), ""},
		{integer, "9223372036854775808", engine.Value{}, "no integer of 64 bits"},
		{integer, "", engine.Value{}, "no integer"},
		{integer, "1.0", engine.Value{}, "no integer"},
		{integer, "0x10", engine.Value{}, "no integer"},
		{integer, "1_000", engine.Value{}, "no integer"},
		{integer, " 1", engine.Value{}, "no integer"},
		{integer, "1 OR 1=1", engine.Value{}, "no integer"},
		{bounded, "1", engine.IntegerOf(1), ""},
		{bounded, "10", engine.IntegerOf(10), ""},
		{bounded, "0", engine.Value{}, "less than 1"},
		{bounded, "11", engine.Value{}, "greater than 10"},
		{number, "1", engine.RealOf(1), ""},
		{number, "1e3", engine.RealOf(1000), ""},
		{number, "-.5", engine.RealOf(-0.5), ""},
		{number, "-0.6", engine.Value{}, "less than"},
		{number, "1e301", engine.Value{}, "greater than"},
		{number, "1e400", engine.Value{}, "64 bits"},
		{number, "NaN", engine.Value{}, "no number"},
		{number, "inf", engine.Value{}, "no number"},
		{number, "0x1p4", engine.Value{}, "no number"},
		{map[string]any{"type": "boolean"}, "true", engine.IntegerOf(1), ""},
		{map[string]any{"type": "boolean"}, "0", engine.IntegerOf(0), ""},
		{map[string]any{"type": "boolean"}, "yes", engine.Value{}, "neither"},
		{map[string]any{"type": "blob"}, "AP8=", engine.BlobOf([]byte{0, 255}), ""},
		{map[string]any{"type": "blob"}, "AP8", engine.BlobOf([]byte{0, 255}), ""},
		{map[string]any{"type": "blob"}, "__8", engine.BlobOf([]byte{255, 255}), ""},
		{map[string]any{"type": "blob"}, "A", engine.Value{}, "base64"},
		{map[string]any{"type": "blob"}, "AP9", engine.Value{}, "base64"}, // bits that stand for nothing
		{map[string]any{"type": "json"}, `{"a":[1]}`, engine.TextOf(`{"a":[1]}`), ""},
		{map[string]any{"type": "json"}, `{"a":`, engine.Value{}, "JSON"},
		{nil, "", engine.TextOf(""), ""},
		{nil, "Ünïcode'; DROP TABLE items; --", engine.TextOf("Ünïcode'; DROP TABLE items; --"), ""},
		{nil, "a\x00b", engine.Value{}, "NUL"},
		{nil, "\xff", engine.Value{}, "UTF-8"},
		{nil, strings.Repeat("x", maxLength+1), engine.Value{}, "more than"},
		{short, "ä", engine.Value{}, "fewer than 2"},
		{short, "äöü", engine.TextOf("äöü"), ""},
		{short, "äöüß", engine.Value{}, "more than 3"},
		{map[string]any{"pattern": "a|bc"}, "bc", engine.TextOf("bc"), ""},
		{map[string]any{"pattern": "a|bc"}, "abc", engine.Value{}, "form"},
		{map[string]any{"pattern": "a"}, "a\n", engine.Value{}, "form"},
		{map[string]any{"one_of": []string{"x", "y"}}, "y", engine.TextOf("y"), ""},
		{map[string]any{"one_of": []string{"x", "y"}}, "z", engine.Value{}, "none of x, y"},
	} {
		v, err := paramOf(t, test.values).parse(test.text)
		switch {
		case test.wrong == "" && (err != nil || !same(v, test.want)):
			t.Errorf("%v %q: %v, %v", test.values, test.text, v, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Message, test.wrong) || err.Code != engine.CodeParameter):
			t.Errorf("%v %q: %v, want an error with %q", test.values, test.text, err, test.wrong)
		}
	}
}

func same(a, b engine.Value) bool {
	return a.Kind == b.Kind && a.Int == b.Int && a.Real == b.Real && string(a.Bytes) == string(b.Bytes)
}

// What a JSON document may say: a text is no number, and a number no text.
func TestParamJSON(t *testing.T) {
	for _, test := range []struct {
		values map[string]any
		json   string
		want   engine.Value
		wrong  string
	}{
		{map[string]any{"type": "integer"}, `9223372036854775807`, engine.IntegerOf(math.MaxInt64), ""},
		{map[string]any{"type": "integer"}, `9007199254740993`, engine.IntegerOf(9007199254740993), ""},
		{map[string]any{"type": "integer"}, `1e3`, engine.IntegerOf(1000), ""},
		{map[string]any{"type": "integer"}, `1.5`, engine.Value{}, "no integer"},
		{map[string]any{"type": "integer"}, `"1"`, engine.Value{}, "type integer"},
		{map[string]any{"type": "integer"}, `true`, engine.Value{}, "type integer"},
		{map[string]any{"type": "integer"}, `null`, engine.Value{}, "null"},
		{map[string]any{"type": "integer", "nullable": true}, `null`, engine.Value{}, ""},
		{map[string]any{"type": "integer", "max": 5.0}, `6`, engine.Value{}, "greater than 5"},
		{map[string]any{"type": "number"}, `1`, engine.RealOf(1), ""},
		{map[string]any{"type": "boolean"}, `true`, engine.IntegerOf(1), ""},
		{map[string]any{"type": "boolean"}, `1`, engine.Value{}, "type boolean"},
		{nil, `"a"`, engine.TextOf("a"), ""},
		{nil, `1`, engine.Value{}, "type text"},
		{nil, `{"a":1}`, engine.Value{}, "type text"},
		{map[string]any{"type": "json"}, `{"a": 1}`, engine.TextOf(`{"a": 1}`), ""},
		{map[string]any{"type": "json"}, `null`, engine.TextOf(`null`), ""},
		{map[string]any{"type": "blob"}, `{"$base64":"AP8="}`, engine.BlobOf([]byte{0, 255}), ""},
		{map[string]any{"type": "blob"}, `"AP8="`, engine.BlobOf([]byte{0, 255}), ""},
		{map[string]any{"type": "blob"}, `[0,255]`, engine.Value{}, "type blob"},
	} {
		object, err := wire.ParseObject([]byte(`{"p":` + test.json + `}`))
		if err != nil {
			t.Fatal(err)
		}
		v, err := paramOf(t, test.values).take(&object[0])
		switch {
		case test.wrong == "" && (err != nil || !same(v, test.want)):
			t.Errorf("%v %s: %v, %v", test.values, test.json, v, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%v %s: %v, want an error with %q", test.values, test.json, err, test.wrong)
		}
	}
}

// What cannot be meant is refused before anything is opened.
func TestCheckParam(t *testing.T) {
	for _, test := range []struct {
		values map[string]any
		at     string
	}{
		{map[string]any{"min": 1.0}, "min"},
		{map[string]any{"type": "integer", "max": 1.5}, "max"},
		{map[string]any{"type": "integer", "min": 2.0, "max": 1.0}, "min"},
		{map[string]any{"type": "integer", "max_length": 1}, "max_length"},
		{map[string]any{"min_length": 2, "max_length": 1}, "min_length"},
		{map[string]any{"pattern": "("}, "pattern"},
		{map[string]any{"type": "number", "pattern": "a"}, "pattern"},
		{map[string]any{"type": "boolean", "one_of": []string{"true"}}, "one_of"},
		{map[string]any{"type": "integer", "default": "x"}, "default"},
		{map[string]any{"type": "integer", "max": 3.0, "default": "4"}, "default"},
	} {
		b, err := configs.NewBlock(paramSpec(), test.values, "p")
		if err == nil {
			t.Errorf("%v: nothing is wrong with it", test.values)
			continue
		}
		_ = b
		if !strings.Contains(err.Error(), test.at) {
			t.Errorf("%v: %v, want something about %s", test.values, err, test.at)
		}
	}
}

func TestParseGrant(t *testing.T) {
	for _, test := range []struct{ item, table, columns string }{
		{"Items", "items", ""},
		{"*", "*", ""},
		{" orders ( id , Total ) ", "orders", "id,total"},
		{"a table", "a table", ""},
	} {
		table, columns, err := parseGrant(test.item)
		var names []string
		for _, name := range strings.Split(test.columns, ",") {
			if name != "" {
				names = append(names, name)
			}
		}
		if err != nil || table != test.table || len(columns) != len(names) {
			t.Errorf("%q: %q %v %v", test.item, table, columns, err)
		}
		for _, name := range names {
			if !columns[name] {
				t.Errorf("%q: no %q", test.item, name)
			}
		}
	}
	for _, item := range []string{"", " ", "(a)", "a(", "a()", "a(b,)", "a(b)c", "*(a)"} {
		if table, columns, err := parseGrant(item); err == nil {
			t.Errorf("%q: %q %v", item, table, columns)
		}
	}
}

// Two grants of one table add up, and a whole table is more than columns of it.
func TestGrantsAddUp(t *testing.T) {
	g := grants([]string{"a(x)", "A(y)", "b(x)", "b", "c"})
	if len(g["a"]) != 2 || g["b"] != nil || g["c"] != nil {
		t.Errorf("%v", g)
	}
	if _, ok := g["b"]; !ok {
		t.Error("no b")
	}
}
