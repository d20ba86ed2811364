package sqlite

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func TestRawParse(t *testing.T) {
	got, e := rawParse([]byte(` ["SELECT 1", ["a", 9223372036854775807, -9223372036854775808, 1.0, 1e3, true, false, null, "é", "x'0aFF'", " X'' ",
		"x'0'", [], [0,255], {"n": 1, "b": [7]}]] `))
	if e != nil {
		t.Fatal(e)
	}
	arg := func(v engine.Value) engine.Arg { return engine.Arg{Value: v} }
	want := []engine.Statement{{SQL: "SELECT 1"}, {SQL: "a", Args: []engine.Arg{
		arg(engine.IntegerOf(9223372036854775807)), arg(engine.IntegerOf(-9223372036854775808)), arg(engine.RealOf(1)), arg(engine.RealOf(1000)),
		arg(engine.IntegerOf(1)), arg(engine.IntegerOf(0)), arg(engine.Value{}), arg(engine.TextOf("é")), arg(engine.BlobOf([]byte{10, 255})),
		arg(engine.BlobOf([]byte{})), arg(engine.TextOf("x'0'")), arg(engine.BlobOf([]byte{})), arg(engine.BlobOf([]byte{0, 255})),
		{Name: "n", Value: engine.IntegerOf(1)}, {Name: "b", Value: engine.BlobOf([]byte{7})}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// Whatever is accepted is JSON with at least one statement, and what is refused says so as the client's mistake.
func FuzzRawParse(f *testing.F) {
	for _, seed := range []string{`["a"]`, `[["a",1,{"b":[1,2]}],"c"]`, `[["a",x'00']]`, `[]`, `[["a",{"b":null}`, `["a"]]`, "[\"\xff\"]",
		`[["a",1e400]]`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		list, e := rawParse(content)
		switch {
		case e == nil && (!json.Valid(content) || len(list) == 0):
			t.Errorf("%q was accepted: %+v", content, list)
		case e != nil && e.Code != engine.CodeRequest && e.Code != engine.CodeTooLarge:
			t.Errorf("%q: %v", content, e)
		}
	})
}
