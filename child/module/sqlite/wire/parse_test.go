package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func TestMemberValue(t *testing.T) {
	cases := []struct {
		raw  string
		form Form
		want engine.Value
	}{
		{`null`, FormNull, null},
		{`true`, FormBoolean, i64(1)},
		{`false`, FormBoolean, i64(0)},
		{`0`, FormInteger, i64(0)},
		{`-0`, FormInteger, i64(0)},
		{`9007199254740993`, FormInteger, i64(1<<53 + 1)},
		{`9223372036854775807`, FormInteger, i64(math.MaxInt64)},
		{`-9223372036854775808`, FormInteger, i64(math.MinInt64)},
		{`1.0`, FormReal, f64(1)},
		{`-0.0`, FormReal, f64(math.Copysign(0, -1))},
		{`1e3`, FormReal, f64(1000)},
		{`1E3`, FormReal, f64(1000)},
		{`5e-324`, FormReal, f64(5e-324)},
		{`1e-999`, FormReal, f64(0)},
		{`0.1`, FormReal, f64(0.1)},
		{`""`, FormText, text("")},
		{`"a"`, FormText, text("a")},
		{`"\"\\\/\b\f\n\r\t"`, FormText, text("\"\\/\b\f\n\r\t")},
		{`"\u0000\u00e9\u20AC\ud83d\ude00"`, FormText, text("\x00é€😀")},
		{`"\\ud800"`, FormText, text(`\ud800`)},
		{"\"\u2028\uFFFD\x7f\"", FormText, text("\u2028\uFFFD\x7f")},
		{`{"$base64":""}`, FormBlob, blob("")},
		{`{"$base64":"/w=="}`, FormBlob, blob("\xff")},
		{`{"$base64":"_w"}`, FormBlob, blob("\xff")},
		{" { \"\\u0024base64\"\n:\t\"\\u002fw==\" } ", FormBlob, blob("\xff")},
	}
	for _, c := range cases {
		m, err := Parse([]byte(c.raw))
		if err != nil || m.Form != c.form || string(m.Raw) != strings.TrimSpace(c.raw) {
			t.Errorf("%s: %v %s, %v", c.raw, m.Form, m.Raw, err)
			continue
		}
		got, err := m.Value()
		if err != nil || !equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.raw, got, err, c.want)
		}
	}
}

// What is no blob by a hair is an object.
func TestForms(t *testing.T) {
	for raw, want := range map[string]Form{
		`[]`: FormArray, `[1]`: FormArray, `{}`: FormObject, `{"a":1}`: FormObject, `{ }`: FormObject,
		`{"$base64":"" }`: FormBlob, `{"$base64":"?"}`: FormBlob,
		`{"$base64":1}`: FormObject, `{"$base64":"","a":1}`: FormObject, `{"a":1,"$base64":""}`: FormObject, `{"$base64":"","$base64":""}`: FormObject,
		`{"$$base64":""}`: FormObject, `{"$BASE64":""}`: FormObject, `{"$base64":{}}`: FormObject, `{"\ud800":""}`: FormObject,
		`{"` + strings.Repeat("$", 100) + `":""}`: FormObject, `"{"`: FormText,
	} {
		if m, err := Parse([]byte(raw)); err != nil || m.Form != want {
			t.Errorf("%s: %v, %v; want %v", raw, m.Form, err, want)
		}
	}
}

func TestParseObject(t *testing.T) {
	o, err := ParseObject([]byte("\t{ \"a\" : 1 ,\r\n\"b\":[1, {\"x\":\"]}\\\"\"}] , \"\\u00e9\\\"\":null,\"\":{\"$base64\":\"\"},\"$x\":\"}\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name string
		form Form
		raw  string
	}{
		{"a", FormInteger, "1"}, {"b", FormArray, `[1, {"x":"]}\""}]`}, {"é\"", FormNull, "null"},
		{"", FormBlob, `{"$base64":""}`}, {"$x", FormText, `"}"`},
	}
	for i, w := range want {
		if o[i].Name != w.name || o[i].Form != w.form || string(o[i].Raw) != w.raw || o.Get(w.name) != &o[i] {
			t.Errorf("%d: %q %v %s, want %v", i, o[i].Name, o[i].Form, o[i].Raw, w)
		}
	}
	if len(o) != len(want) || o.Get("c") != nil {
		t.Errorf("%d members", len(o))
	}
	elements, err := o[1].Elements(2)
	if err != nil || len(elements) != 2 || string(elements[1].Raw) != `{"x":"]}\""}` || elements[1].Name != "" {
		t.Fatalf("%v, %v", elements, err)
	}
	if inner, err := elements[1].Object(); err != nil || len(inner) != 1 || inner[0].Name != "x" {
		t.Errorf("%v, %v", inner, err)
	}
}

// A member's values are the caller's own, whatever becomes of the document.
func TestValueIsCopied(t *testing.T) {
	body := []byte(`{"a":"text","b":{"$base64":"YWJj"}}`)
	o, err := ParseObject(body)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := o[0].Value()
	b, _ := o[1].Value()
	clear(body)
	if string(a.Bytes) != "text" || string(b.Bytes) != "abc" || o[0].Name != "a" {
		t.Errorf("%q %q %q", a.Bytes, b.Bytes, o[0].Name)
	}
}

func TestParseErrors(t *testing.T) {
	object := func(body string) error { _, err := ParseObject([]byte(body)); return err }
	value := func(body string) error {
		m, err := Parse([]byte(body))
		if err == nil {
			if m.Form == FormObject {
				o, err := m.Object()
				if err != nil {
					return err
				}
				m = o[0]
			}
			_, err = m.Value()
			return err
		}
		return err
	}
	sets := func(body string) error { _, _, err := ParseSets([]byte(body), 2); return err }
	long := strings.Repeat("é", 500)
	numbered := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`"a` + strconv.Itoa(i) + `":0,`)
		}
		return b.String()
	}
	cases := []struct {
		parse        func(string) error
		body         string
		code         engine.Code
		offset       int
		line, column int
		message      string // a part of it
	}{
		{object, "", engine.CodeRequest, 0, 1, 1, "there is no content"},
		{object, " \n\t", engine.CodeRequest, 3, 2, 2, "there is no content"},
		{object, "\xEF\xBB\xBF{}", engine.CodeRequest, 0, 1, 1, "byte order mark"},
		{object, "{", engine.CodeRequest, 1, 1, 2, "unexpected end"},
		{object, `{"a":1`, engine.CodeRequest, 6, 1, 7, "unexpected end"},
		{object, "{\n  \"é\": 1,\n}", engine.CodeRequest, 13, 3, 1, "invalid character '}'"},
		{object, "{\"é\":x}", engine.CodeRequest, 6, 1, 6, "invalid character 'x'"},
		{object, `{"a":1} x`, engine.CodeRequest, 8, 1, 9, "invalid character 'x' after top-level value"},
		{object, `{"a":1}{}`, engine.CodeRequest, 7, 1, 8, "after top-level value"},
		{object, `{'a':1}`, engine.CodeRequest, 1, 1, 2, "invalid character"},
		{object, `{"a":01}`, engine.CodeRequest, 6, 1, 7, "invalid character '1'"},
		{object, `{"a":+1}`, engine.CodeRequest, 5, 1, 6, "invalid character '+'"},
		{object, `{"a":.5}`, engine.CodeRequest, 5, 1, 6, "invalid character '.'"},
		{object, `{"a":1.}`, engine.CodeRequest, 7, 1, 8, "invalid character '}'"},
		{object, `{"a":NaN}`, engine.CodeRequest, 5, 1, 6, "invalid character 'N'"},
		{object, `{"a":"` + "\t" + `"}`, engine.CodeRequest, 6, 1, 7, "invalid character '\\t' in string"},
		{object, `{"a":"\x"}`, engine.CodeRequest, 7, 1, 8, "invalid character 'x' in string escape"},
		{object, "{\"a\":\u00a01}", engine.CodeRequest, 5, 1, 6, "invalid character"},
		{object, "{\"a\":1}\x00", engine.CodeRequest, 7, 1, 8, "invalid character"},
		{object, `/**/{}`, engine.CodeRequest, 0, 1, 1, "invalid character '/'"},
		{object, "{\"a\":\"é\xff\"}", engine.CodeRequest, 8, 1, 8, "not UTF-8"},
		{object, "{\"a\":\"\xed\xa0\x80\"}", engine.CodeRequest, 6, 1, 7, "not UTF-8"},
		{object, `[1]`, engine.CodeRequest, 0, 1, 1, "an object is expected, not an array"},
		{object, ` null`, engine.CodeRequest, 1, 1, 2, "an object is expected, not null"},
		{object, `{"a":1,"a":2}`, engine.CodeRequest, 7, 1, 8, `the name "a" is there twice`},
		{object, "{\"a\":1,\n\"\\u0061\":2}", engine.CodeRequest, 8, 2, 1, `the name "a" is there twice`},
		{object, "{" + numbered(MaxMembers) + `"a":0}`, engine.CodeTooLarge, -1, 1, -1, "more than 32766 members"},
		{object, "{" + numbered(100) + `"a1":0}`, engine.CodeRequest, -1, 1, -1, `the name "a1" is there twice`},
		{object, `{"` + long + `":1,"` + long + `":1}`, engine.CodeRequest, 1006, 1, 507, `ééé"… is there twice`},
		{object, `{"a":1,"\ud800":1}`, engine.CodeRequest, 8, 1, 9, "half of a surrogate pair"},
		{object, `{"a":` + strings.Repeat("[", MaxDepth) + `x`, engine.CodeTooLarge, 4 + MaxDepth, 1, 5 + MaxDepth, "more than 128 arrays"},
		{object, strings.Repeat("[", 1e6), engine.CodeTooLarge, MaxDepth, 1, 1 + MaxDepth, "more than 128 arrays"},

		{value, `{"n":9223372036854775808}`, engine.CodeParameter, 5, 1, 6, `"n": the integer 9223372036854775808 is beyond 64 bits`},
		{value, `-9223372036854775809`, engine.CodeParameter, 0, 1, 1, "beyond 64 bits"},
		{value, strings.Repeat("9", 10_000), engine.CodeParameter, 0, 1, 1, strings.Repeat("9", 64) + "… is beyond 64 bits"},
		{value, `1e309`, engine.CodeParameter, 0, 1, 1, "1e309 is beyond"},
		{value, `[]`, engine.CodeParameter, 0, 1, 1, "a value is expected, not an array"},
		{value, `{"x":{}}`, engine.CodeParameter, 5, 1, 6, `"x": a value is expected, not an object`},
		{value, `"ab\ud800"`, engine.CodeParameter, 3, 1, 4, "half of a surrogate pair"},
		{value, `"\ude00\ud83d"`, engine.CodeParameter, 1, 1, 2, "half of a surrogate pair"},
		{value, `"\ud83d\u0041"`, engine.CodeParameter, 1, 1, 2, "half of a surrogate pair"},
		{value, `"\ud83dxude00"`, engine.CodeParameter, 1, 1, 2, "half of a surrogate pair"},
		{value, `"\ud83d\ud83d\ude00"`, engine.CodeParameter, 1, 1, 2, "half of a surrogate pair"},
		{value, `{"$base64":"YQ=a"}`, engine.CodeParameter, 11, 1, 12, "not base64"},
		{value, `{"$base64":"\ud800"}`, engine.CodeParameter, 11, 1, 12, "not base64"},

		{sets, `1`, engine.CodeRequest, 0, 1, 1, "an object, or an array of objects, is expected, not an integer"},
		{sets, `[{},{},{}]`, engine.CodeTooLarge, 7, 1, 8, "more than 2 elements"},
		{sets, "[{},\n3]", engine.CodeRequest, 5, 2, 1, "an object is expected, not an integer"},
		{sets, `[{},{"a":1,"a":1}]`, engine.CodeRequest, 11, 1, 12, "twice"},
		{sets, `[{},]`, engine.CodeRequest, 4, 1, 5, "invalid character ']'"},
	}
	for _, c := range cases {
		err := c.parse(c.body)
		var e *engine.Error
		var p *PositionError
		if !errors.As(err, &e) || !errors.As(err, &p) {
			t.Errorf("%.80q: %v", c.body, err)
			continue
		}
		if e.Code != c.code || !strings.Contains(e.Message, c.message) || e.Offset != -1 || e.Message != p.Error() {
			t.Errorf("%.80q: %v, want %v with %q", c.body, e, c.code, c.message)
		}
		if c.offset >= 0 && (p.Offset != c.offset || p.Line != c.line || p.Column != c.column) {
			t.Errorf("%.80q: byte %d, line %d, column %d; want %d, %d, %d", c.body, p.Offset, p.Line, p.Column, c.offset, c.line, c.column)
		}
		if len(e.Message) > 400 || !utf8.ValidString(e.Message) || strings.ContainsAny(e.Message, "\n\r") {
			t.Errorf("%.80q: the message is %q", c.body, e.Message)
		}
	}
}

func TestBounds(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	if _, err := Parse([]byte(deep)); err != nil {
		t.Error(err)
	}
	if _, err := Parse([]byte(`"` + strings.Repeat(`[{\"`, 1000) + `"`)); err != nil {
		t.Errorf("brackets in a string: %v", err)
	}
	many := make([]string, MaxMembers)
	for i := range many {
		many[i] = `"a` + strconv.Itoa(i) + `":0`
	}
	if o, err := ParseObject([]byte("{" + strings.Join(many, ",") + "}")); err != nil || len(o) != MaxMembers {
		t.Errorf("%d members, %v", len(o), err)
	}
}

func TestParseSets(t *testing.T) {
	cases := []struct {
		body  string
		sets  int
		array bool
	}{
		{`{"a":1}`, 1, false}, {`{}`, 1, false}, {`[]`, 0, true}, {` [ {"a":1} ] `, 1, true}, {`[{},{}]`, 2, true},
		{`{"$base64":""}`, 1, false}, {`[{"$base64":""}]`, 1, true},
	}
	for _, c := range cases {
		sets, array, err := ParseSets([]byte(c.body), 2)
		if err != nil || len(sets) != c.sets || array != c.array {
			t.Errorf("%s: %d sets, array %v, %v", c.body, len(sets), array, err)
		}
	}
}

func TestBase64(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "YQ==": "a", "YQ": "a", "YWI=": "ab", "YWI": "ab", "YWJj": "abc", "+/8=": "\xfb\xff", "-_8=": "\xfb\xff", "-_8": "\xfb\xff",
	} {
		if got, err := Base64(s); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"=", "==", "====", "Y", "Y===", "YQ=", "YQ===", "YWJj=", "YWJj====", "YR==", "YR", "YW J", "YW\nJj", "YWJj\n", "YWJj\r\n", "+_8=", "é",
		"YQ==YQ==", "Y=Q=",
	} {
		if got, err := Base64(s); err == nil {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// mended reports whether encoding/json would change a string of body, which Parse must not.
func mended(body []byte) bool {
	return !utf8.Valid(body) || bytes.Contains(bytes.ToLower(body), []byte(`\ud`))
}

// Parse takes what encoding/json takes, and reads the same out of it.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1,"b":-1.5e3,"c":"x\u00e9\n","d":null,"e":true,"f":{"$base64":"YQ=="},"g":[1,{"h":[]}]}`, ` {"a" :1 , "a":2}`,
		`{"a":"\ud83d\ude00","b":"\ud800"}`,
		`[{"a":9223372036854775808}]`, `{"a":1e999}`,
		"\xEF\xBB\xBF{}", "{\"a\":\"\xff\"}", `{"a":1}x`, `{"$base64":"` + "\\u0059Q" + `"}`, `"`, `[`, `{"a":"\\","b":"\"}"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if err != nil {
			var p *PositionError
			if !errors.As(err, &p) || p.Offset < 0 || p.Offset > len(body) || p.Line < 1 || p.Column < 1 || p.Line+p.Column > p.Offset+2 {
				t.Fatalf("%q: %v", body, err)
			}
			if json.Valid(body) && utf8.Valid(body) && depth(body) <= MaxDepth {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("%q is taken: %v", body, err)
		}
		checkMember(t, m, want)
	})
}

func depth(body []byte) (most int) {
	d := json.NewDecoder(bytes.NewReader(body))
	for n := 0; ; {
		token, err := d.Token()
		if err != nil {
			return most
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			n++
			most = max(most, n)
		case json.Delim('}'), json.Delim(']'):
			n--
		}
	}
}

func checkMember(t *testing.T, m Member, want any) {
	var again any
	d := json.NewDecoder(bytes.NewReader(m.Raw))
	d.UseNumber()
	if err := d.Decode(&again); err != nil || !reflect.DeepEqual(again, want) {
		t.Fatalf("raw %q is %v, want %v", m.Raw, again, want)
	}
	switch want := want.(type) {
	case []any:
		elements, err := m.Elements(len(want))
		if err != nil || len(elements) != len(want) {
			t.Fatalf("%q: %d elements, %v", m.Raw, len(elements), err)
		}
		if _, err := m.Elements(len(want) - 1); err == nil && len(want) > 0 {
			t.Fatalf("%q: more elements than asked for", m.Raw)
		}
		for i := range elements {
			checkMember(t, elements[i], want[i])
		}
		return
	case map[string]any:
		o, err := m.Object()
		if err == nil && len(o) != len(want) || err != nil && !mended(m.Raw) && !strings.Contains(err.Error(), "is there twice") {
			t.Fatalf("%q: %d members, %v; want %d", m.Raw, len(o), err, len(want))
		}
		for _, inner := range o {
			value, known := want[inner.Name]
			if !known {
				t.Fatalf("%q: %q is no name of it", m.Raw, inner.Name)
			}
			checkMember(t, inner, value)
		}
		if m.Form != FormBlob {
			return
		}
	}
	checkScalar(t, m, want)
}

func checkScalar(t *testing.T, m Member, want any) {
	v, err := m.Value()
	ok := false
	switch want := want.(type) {
	case nil:
		ok = err == nil && v.Kind == engine.Null
	case bool:
		ok = err == nil && m.Form == FormBoolean && v.Kind == engine.Integer && (v.Int == 1) == want && v.Int&^1 == 0
	case string:
		ok = err == nil && v.Kind == engine.Text && string(v.Bytes) == want || err != nil && mended(m.Raw)
	case json.Number:
		if n, whole := new(big.Int).SetString(want.String(), 10); whole {
			ok = n.IsInt64() && err == nil && v.Kind == engine.Integer && v.Int == n.Int64() || !n.IsInt64() && err != nil
		} else {
			f, over := want.Float64()
			ok = over == nil && err == nil && v.Kind == engine.Real && math.Float64bits(v.Real) == math.Float64bits(f) || over != nil && err != nil
		}
	case map[string]any:
		coded, _ := want["$base64"].(string)
		b, wrong := Base64(coded)
		ok = wrong == nil && err == nil && v.Kind == engine.Blob && bytes.Equal(v.Bytes, b) || err != nil && (wrong != nil || mended(m.Raw))
	}
	if !ok {
		t.Fatalf("%q: %v, %v; want %v", m.Raw, v, err, want)
	}
}
