package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func columns(names ...string) []engine.Column {
	c := make([]engine.Column, len(names))
	for i, name := range names {
		c[i].Name = name
	}
	return c
}

var (
	null = engine.Value{}
	i64  = engine.IntegerOf
	f64  = engine.RealOf
	text = engine.TextOf
)

func blob(s string) engine.Value { return engine.BlobOf([]byte(s)) }

// failing is a result that ends early.
type failing struct {
	*Table
	err    error
	closed int
}

func (f *failing) Err() error {
	if f.present < len(f.rows) {
		return nil
	}
	return f.err
}

func (f *failing) Close() { f.closed++ }

// encoded is the whole document.
func encoded(e *Encoder, rows engine.Rows, members ...Extra) string {
	dst := e.Begin(nil)
	for rows.Next() {
		dst = e.Row(dst, rows)
	}
	return string(e.End(dst, members...))
}

func TestDocuments(t *testing.T) {
	names := columns("id", "name")
	two := [][]engine.Value{{i64(1), text("a")}, {i64(2), null}}
	next := Extra{"next", text("2")}
	count := Extra{"rows_affected", i64(2)}
	cases := []struct {
		format  Format
		single  bool
		columns []engine.Column
		rows    [][]engine.Value
		members []Extra
		want    string
	}{
		{JSON, false, names, nil, nil, `{"rows":[]}`},
		{JSON, false, nil, nil, nil, `{"rows":[]}`},
		{JSON, false, names, two, nil, `{"rows":[{"id":1,"name":"a"},{"id":2,"name":null}]}`},
		{JSON, false, names, two[:1], []Extra{next, count}, `{"rows":[{"id":1,"name":"a"}],"next":"2","rows_affected":2}`},
		{JSON, false, nil, [][]engine.Value{{}, {}}, nil, `{"rows":[{},{}]}`},
		{JSON, true, names, two[:1], nil, `{"id":1,"name":"a"}`},
		{JSON, true, names, two[:1], []Extra{next}, `{"id":1,"name":"a"}`},
		{JSON, true, names, nil, nil, `null`},
		{JSON, true, nil, [][]engine.Value{{}}, nil, `{}`},
		{NDJSON, false, names, nil, nil, `{"$end":{"rows":0}}` + "\n"},
		{NDJSON, false, names, two, nil, `{"id":1,"name":"a"}` + "\n" + `{"id":2,"name":null}` + "\n" + `{"$end":{"rows":2}}` + "\n"},
		{NDJSON, true, names, two[:1], []Extra{next}, `{"id":1,"name":"a"}` + "\n" + `{"$end":{"rows":1,"next":"2"}}` + "\n"},
		{NDJSON, false, columns("$end"), two[:1], nil, `{"$$end":1}` + "\n" + `{"$end":{"rows":1}}` + "\n"},
		{CSV, false, names, nil, nil, "id,name\r\n"},
		{CSV, false, nil, nil, nil, ""},
		{CSV, false, names, two, []Extra{next}, "id,name\r\n1,a\r\n2,\r\n"},
		{CSV, true, columns("$a", "", "b,c"), [][]engine.Value{{text(""), blob(""), blob("ab")}}, nil, "$a,\"\",\"b,c\"\r\n\"\",\"\",YWI=\r\n"},
		{CSV, false, columns("x"), [][]engine.Value{{null}, {text("")}}, nil, "x\r\n\r\n\"\"\r\n"},
	}
	for _, c := range cases {
		e := NewEncoder(c.format, c.columns, Options{Single: c.single})
		for round := range 2 { // the second with what is kept
			if got := encoded(e, NewTable(c.columns, c.rows), c.members...); got != c.want {
				t.Errorf("%v, single %v, round %d:\n%s\nwant\n%s", c.format, c.single, round, got, c.want)
			}
			if e.Rows() != int64(len(c.rows)) {
				t.Errorf("%v: counted %d rows, want %d", c.format, e.Rows(), len(c.rows))
			}
			e.Reset(c.columns, Options{Single: c.single})
		}
	}
}

func TestFail(t *testing.T) {
	wrong := engine.Errorf(engine.CodeTimeout, "the statement \"took\" longer than 1s \xff")
	const said = `{"code":"timeout","message":"the statement \"took\" longer than 1s ` + "\uFFFD" + `"}`
	cases := []struct {
		format Format
		single bool
		names  []engine.Column
		rows   int
		want   string
	}{
		{JSON, false, columns("a"), 0, `{"rows":[],"error":` + said + `}`},
		{JSON, false, columns("a"), 2, `{"rows":[{"a":1},{"a":1}],"error":` + said + `}`},
		{JSON, true, columns("a"), 0, `{"$error":` + said + `}`},
		{JSON, true, columns("a"), 1, `{"a":1,"$error":` + said + `}`},
		{JSON, true, nil, 1, `{"$error":` + said + `}`},
		{JSON, true, columns("$error"), 1, `{"$$error":1,"$error":` + said + `}`},
		{NDJSON, false, columns("a"), 0, `{"$error":` + said + "}\n"},
		{NDJSON, false, columns("a"), 1, `{"a":1}` + "\n" + `{"$error":` + said + "}\n"},
		{CSV, false, columns("a"), 1, "a\r\n1\r\n"},
	}
	for _, c := range cases {
		e := NewEncoder(c.format, c.names, Options{Single: c.single})
		rows := NewTable(c.names, slices.Repeat([][]engine.Value{{i64(1)}}, c.rows))
		var dst []byte
		for rows.Next() {
			dst = e.Row(dst, rows) // begins by itself
		}
		if got := string(e.Fail(dst, wrong)); got != c.want {
			t.Errorf("%v, single %v, %d rows:\n%s\nwant\n%s", c.format, c.single, c.rows, got, c.want)
		}
		if c.format == JSON && !json.Valid([]byte(c.want)) {
			t.Errorf("the case is no JSON: %s", c.want)
		}
	}
}

func TestNames(t *testing.T) {
	many := slices.Repeat([]string{"a"}, 3000)
	numbered := []string{"a"}
	for i := 2; i <= 3000; i++ {
		numbered = append(numbered, "a_"+strconv.Itoa(i))
	}
	cases := []struct{ given, want []string }{
		{nil, nil},
		{[]string{"a"}, []string{"a"}},
		{[]string{"a", "A"}, []string{"a", "A"}},
		{[]string{"a", "a"}, []string{"a", "a_2"}},
		{[]string{"a", "b", "a", "b", "a"}, []string{"a", "b", "a_2", "b_2", "a_3"}},
		{[]string{"a", "a", "a_2"}, []string{"a", "a_3", "a_2"}}, // its own name is kept
		{[]string{"a_2", "a", "a", "a_2"}, []string{"a_2", "a", "a_3", "a_2_2"}},
		{[]string{"a", "a", "a_2", "a_2", "a_2_2"}, []string{"a", "a_3", "a_2", "a_2_3", "a_2_2"}},
		{[]string{"", ""}, []string{"", "_2"}},
		{[]string{"$", "$", "$$", "$a"}, []string{"$$", "$$_2", "$$$", "$$a"}},
		{[]string{"$base64"}, []string{"$$base64"}},
		{[]string{"\xff", "\xfe", "\uFFFD"}, []string{"\uFFFD", "\uFFFD_2", "\uFFFD_3"}},
		{[]string{"x\"\n", "count(*)"}, []string{"x\"\n", "count(*)"}},
		{many, numbered},
	}
	for _, c := range cases {
		row := make([]engine.Value, len(c.given))
		for i := range row {
			row[i] = i64(int64(i))
		}
		e := NewEncoder(JSON, columns(c.given...), Options{Single: true})
		got := names(t, encoded(e, NewTable(columns(c.given...), [][]engine.Value{row})))
		if !slices.Equal(got, c.want) {
			t.Errorf("%.20q: %.20q, want %.20q", c.given, got, c.want)
		}
	}
}

// names are the members of an object by encoding/json, in their order.
func names(t *testing.T, object string) (names []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(object))
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%.100q: %v", object, err)
		}
		switch token {
		case json.Delim('{'):
			depth++
			continue
		case json.Delim('}'):
			if depth--; depth == 0 {
				return names
			}
			continue
		}
		names = append(names, token.(string))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
}

func TestValues(t *testing.T) {
	cases := []struct {
		v         engine.Value
		json, csv string
	}{
		{null, "null", ""},
		{engine.Value{Kind: 77}, "null", ""},
		{i64(0), "0", "0"},
		{i64(-1), "-1", "-1"},
		{i64(1<<53 + 1), "9007199254740993", "9007199254740993"},
		{i64(math.MaxInt64), "9223372036854775807", "9223372036854775807"},
		{i64(math.MinInt64), "-9223372036854775808", "-9223372036854775808"},
		{f64(1), "1.0", "1.0"},
		{f64(0), "0.0", "0.0"},
		{f64(math.Copysign(0, -1)), "-0.0", "-0.0"},
		{f64(0.1), "0.1", "0.1"},
		{f64(-2.5), "-2.5", "-2.5"},
		{f64(1e20), "100000000000000000000.0", "100000000000000000000.0"},
		{f64(1e21), "1e+21", "1e+21"},
		{f64(1e-6), "0.000001", "0.000001"},
		{f64(1e-7), "1e-07", "1e-07"},
		{f64(9007199254740993), "9007199254740992.0", "9007199254740992.0"},
		{f64(math.MaxFloat64), "1.7976931348623157e+308", "1.7976931348623157e+308"},
		{f64(math.SmallestNonzeroFloat64), "5e-324", "5e-324"},
		{f64(math.NaN()), "null", ""},
		{f64(math.Inf(1)), "null", ""},
		{f64(math.Inf(-1)), "null", ""},
		{text(""), `""`, `""`},
		{text("a"), `"a"`, `a`},
		{engine.Value{Kind: engine.Text}, `""`, `""`},
		{text("a,b"), `"a,b"`, `"a,b"`},
		{text(`say "x"`), `"say \"x\""`, `"say ""x"""`},
		{text(`"`), `"\""`, `""""`},
		{text(`\`), `"\\"`, `\`},
		{text("a\r\nb\tc\b\f"), `"a\r\nb\tc\b\f"`, "\"a\r\nb\tc\b\f\""},
		{text("\x00\x01\x1f\x7f"), `"\u0000\u0001\u001f` + "\x7f\"", "\x00\x01\x1f\x7f"},
		{text("a\rb"), `"a\rb"`, "\"a\rb\""},
		{text("a\nb"), `"a\nb"`, "\"a\nb\""},
		{text(" a"), `" a"`, `" a"`},
		{text("a\t"), `"a\t"`, "\"a\t\""},
		{text("</script>&"), `"</script>&"`, "</script>&"},
		{text("é€😀"), `"é€😀"`, "é€😀"},
		{text("\u2027\u2028\u2029\u202a"), "\"\u2027\\u2028\\u2029\u202a\"", "\u2027\u2028\u2029\u202a"},
		{text("=1+1"), `"=1+1"`, "=1+1"},
		{text("NULL"), `"NULL"`, "NULL"},
		{text("\xff"), `{"$base64":"/w=="}`, "\xff"},
		{text("a\xed\xa0\x80"), `{"$base64":"Ye2ggA=="}`, "a\xed\xa0\x80"}, // half a surrogate pair
		{text("\xe2"), `{"$base64":"4g=="}`, "\xe2"},
		{blob(""), `{"$base64":""}`, `""`},
		{engine.Value{Kind: engine.Blob}, `{"$base64":""}`, `""`},
		{blob("a"), `{"$base64":"YQ=="}`, `YQ==`},
		{blob("\xfb\xff"), `{"$base64":"+/8="}`, `+/8=`},
	}
	for _, c := range cases {
		if got := string(AppendValue([]byte("x"), c.v)); got != "x"+c.json {
			t.Errorf("%v %q: %s, want %s", c.v.Kind, c.v.Bytes, got, c.json)
		}
		table := NewTable(columns("a", "b"), [][]engine.Value{{c.v, c.v}})
		if got, want := encoded(NewEncoder(CSV, columns("a", "b"), Options{}), table), "a,b\r\n"+c.csv+","+c.csv+"\r\n"; got != want {
			t.Errorf("%v %q as CSV: %q, want %q", c.v.Kind, c.v.Bytes, got, want)
		}
	}
}

// Reals read back as they were, and are the shortest that do.
func TestRealsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		f := math.Float64frombits(random.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		got := string(AppendValue(nil, f64(f)))
		back, err := strconv.ParseFloat(got, 64)
		if err != nil || math.Float64bits(back) != math.Float64bits(f) || !json.Valid([]byte(got)) {
			t.Fatalf("%x: %s, which is %x, %v", f, got, back, err)
		}
		if !strings.ContainsAny(got, ".e") {
			t.Fatalf("%s is an integer", got)
		}
		digits := func(s string) int {
			mantissa, _, _ := strings.Cut(s, "e")
			return len(strings.Trim(strings.NewReplacer(".", "", "-", "").Replace(mantissa), "0"))
		}
		if short := strconv.FormatFloat(f, 'g', -1, 64); digits(got) > digits(short) {
			t.Fatalf("%s is longer than %s", got, short)
		}
	}
}

func TestSingleTwicePanics(t *testing.T) {
	e := NewEncoder(JSON, columns("a"), Options{Single: true})
	rows := NewTable(columns("a"), [][]engine.Value{{i64(1)}, {i64(2)}})
	rows.Next()
	e.Row(nil, rows)
	rows.Next()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	e.Row(nil, rows)
}

// Last is the encoder's own memory, and forgotten by Reset.
func TestLast(t *testing.T) {
	names := columns("a", "b")
	e := NewEncoder(NDJSON, names, Options{Last: 2})
	if e.Last().Kind != engine.Null {
		t.Error("there is a last value before the first row")
	}
	key := []byte("first")
	rows := NewTable(names, [][]engine.Value{{i64(1), {Kind: engine.Text, Bytes: key}}, {i64(2), i64(7)}, {i64(3), text("z")}})
	rows.Next()
	e.Row(nil, rows)
	copy(key, "XXXXX")
	if got := e.Last(); got.Kind != engine.Text || string(got.Bytes) != "first" {
		t.Errorf("%v %q", got.Kind, got.Bytes)
	}
	rows.Next()
	e.Row(nil, rows)
	if got := e.Last(); got.Kind != engine.Integer || got.Int != 7 {
		t.Errorf("%v", got)
	}
	rows.Next()
	e.Row(nil, rows)
	if got := e.Last(); got.Kind != engine.Text || string(got.Bytes) != "z" {
		t.Errorf("%v", got)
	}
	e.Reset(names, Options{})
	if e.Last().Kind != engine.Null {
		t.Error("Reset keeps the last value")
	}
}

// An Encoder that is used again for other columns has nothing of the old.
func TestReset(t *testing.T) {
	for _, f := range []Format{JSON, NDJSON, CSV} {
		e := NewEncoder(f, columns("a", "b", "c"), Options{})
		for _, names := range [][]engine.Column{columns("a", "b"), columns("a", "c"), nil, columns("a"), columns("b"), columns("a", "a")} {
			row := make([]engine.Value, len(names))
			e.Reset(names, Options{})
			got := encoded(e, NewTable(names, [][]engine.Value{row}))
			if want := encoded(NewEncoder(f, names, Options{}), NewTable(names, [][]engine.Value{row})); got != want {
				t.Errorf("%v: %q, want %q", f, got, want)
			}
		}
	}
}

// fuzzed makes a result of data.
func fuzzed(data []byte) (names []engine.Column, rows [][]engine.Value) {
	take := func() byte {
		if len(data) == 0 {
			return 0
		}
		c := data[0]
		data = data[1:]
		return c
	}
	word := func() []byte {
		n := min(int(take())%40, len(data))
		b := bytes.Clone(data[:n])
		data = data[n:]
		return b
	}
	for range 1 + take()%4 {
		names = append(names, engine.Column{Name: string(word())})
	}
	for len(data) > 0 && len(rows) < 50 {
		row := make([]engine.Value, len(names))
		for i := range row {
			switch engine.Kind(take() % 5) {
			case engine.Integer:
				row[i] = i64(int64(bits(word())))
			case engine.Real:
				row[i] = f64(math.Float64frombits(bits(word())))
			case engine.Text:
				row[i] = engine.Value{Kind: engine.Text, Bytes: word()}
			case engine.Blob:
				row[i] = engine.Value{Kind: engine.Blob, Bytes: word()}
			}
		}
		rows = append(rows, row)
	}
	return names, rows
}

func bits(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

func equal(a, b engine.Value) bool {
	return a.Kind == b.Kind && a.Int == b.Int && math.Float64bits(a.Real) == math.Float64bits(b.Real) && bytes.Equal(a.Bytes, b.Bytes)
}

// same reports whether decoded, by encoding/json with UseNumber, is what v must become.
func same(v engine.Value, decoded any) bool {
	switch v.Kind {
	case engine.Null:
		return decoded == nil
	case engine.Integer:
		n, ok := decoded.(json.Number)
		return ok && n.String() == fmt.Sprint(v.Int)
	case engine.Real:
		if math.IsNaN(v.Real) || math.IsInf(v.Real, 0) {
			return decoded == nil
		}
		n, ok := decoded.(json.Number)
		f, err := n.Float64()
		return ok && err == nil && math.Float64bits(f) == math.Float64bits(v.Real) && strings.ContainsAny(n.String(), ".e")
	case engine.Text:
		if utf8.Valid(v.Bytes) {
			return decoded == string(v.Bytes)
		}
	}
	object, ok := decoded.(map[string]any)
	coded, _ := object["$base64"].(string)
	b, err := base64.StdEncoding.DecodeString(coded)
	return ok && len(object) == 1 && err == nil && bytes.Equal(b, v.Bytes)
}

// What is encoded is read back by encoding/json, and by Parse, as what it was.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("\x02\x01a\x01a\x03\x05hello\x04\x02\xff\x00\x01\x08\x7f\xff\xff\xff\xff\xff\xff\xff\x02\x08\x3f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x04$end\x03\x06\xe2\x80\xa8\x22\x5c\x0a\x03\x03\xed\xa0\x80"))
	f.Add([]byte("\x03\x01a\x01a\x03a_2\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, rows := fuzzed(data)
		line := encoded(NewEncoder(NDJSON, names, Options{}), NewTable(names, rows))
		lines := strings.Split(strings.TrimSuffix(line, "\n"), "\n")
		if want := fmt.Sprintf(`{"$end":{"rows":%d}}`, len(rows)); len(lines) != len(rows)+1 || lines[len(rows)] != want {
			t.Fatalf("%d rows: %q", len(rows), lines)
		}
		document := encoded(NewEncoder(JSON, names, Options{}), NewTable(names, rows))
		if want := `{"rows":[` + strings.Join(lines[:len(rows)], ",") + "]}"; document != want {
			t.Fatalf("JSON\n%s\nNDJSON\n%s", document, want)
		}
		for i, row := range rows {
			checkRow(t, lines[i], names, row)
		}
	})
}

func checkRow(t *testing.T, line string, columns []engine.Column, row []engine.Value) {
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	decoded := map[string]any{}
	if err := decoder.Decode(&decoded); err != nil || len(decoded) != len(row) || !utf8.ValidString(line) {
		t.Fatalf("%q: %v, %d of %d members", line, err, len(decoded), len(row))
	}
	object, err := ParseObject([]byte(line))
	if err != nil || len(object) != len(row) {
		t.Fatalf("%q: %v, %d of %d members", line, err, len(object), len(row))
	}
	for i, m := range object {
		if strings.HasPrefix(m.Name, "$") && !strings.HasPrefix(m.Name, "$$") {
			t.Fatalf("%q is a name of the server's", m.Name)
		}
		if strings.HasPrefix(columns[i].Name, "$") != strings.HasPrefix(m.Name, "$$") {
			t.Fatalf("%q became %q", columns[i].Name, m.Name)
		}
		if !same(row[i], decoded[m.Name]) {
			t.Fatalf("%v %q became %v", row[i], row[i].Bytes, decoded[m.Name])
		}
		got, err := m.Value()
		if err != nil {
			t.Fatalf("%s: %v", m.Raw, err)
		}
		want := row[i]
		switch {
		case want.Kind == engine.Text && !utf8.Valid(want.Bytes):
			want.Kind = engine.Blob
		case want.Kind == engine.Real && (math.IsNaN(want.Real) || math.IsInf(want.Real, 0)):
			want = null
		}
		if !equal(got, want) {
			t.Fatalf("%v became %s, and that %v", want, m.Raw, got)
		}
	}
}
