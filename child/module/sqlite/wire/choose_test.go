package wire

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	all := []Format{JSON, NDJSON, CSV}
	cases := []struct {
		accept  string
		offered []Format
		want    Format
		ok      bool
	}{
		{"", all, JSON, true},
		{" , ,", all, JSON, true},
		{"*/*", all, JSON, true},
		{"*/*", []Format{CSV, JSON}, CSV, true},
		{"application/json", all, JSON, true},
		{"Application/JSON", all, JSON, true},
		{"text/csv", all, CSV, true},
		{"application/x-ndjson", all, NDJSON, true},
		{"application/ndjson", all, NDJSON, true},
		{"application/jsonl", all, NDJSON, true},
		{"application/*", all, JSON, true},
		{"application/*", []Format{CSV, NDJSON}, NDJSON, true},
		{"text/*", all, CSV, true},
		{"text/html", all, JSON, false},
		{"text/html", []Format{CSV, JSON}, CSV, false},
		{"text/csv", []Format{JSON}, JSON, false},
		{"application/problem+json", all, JSON, false},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", all, JSON, true},
		{"application/json, text/plain, */*", []Format{CSV, JSON}, JSON, true}, // the exact one, at the same weight
		{"text/csv, */*", all, CSV, true},
		{"*/*, text/csv;q=0.9", all, JSON, true},
		{"text/csv;q=0.9, application/json;q=0.8", all, CSV, true},
		{"text/csv;q=0.501, application/json;q=0.50", all, CSV, true},
		{"text/csv;q=0.5, application/json;q=0.500", all, JSON, true},
		{"text/csv;q=0.001", all, CSV, true},
		{"text/csv;q=0.000", all, JSON, false},
		{"text/csv;q=0", []Format{CSV}, CSV, false},
		{"*/*, application/json;q=0", all, NDJSON, true},
		{"*/*, application/*;q=0", all, CSV, true},
		{"*/*;q=0, text/csv", all, CSV, true},
		{"*/*;q=0", all, JSON, false},
		{"application/*;q=0, application/json;q=0.1, */*;q=0.5", []Format{NDJSON, JSON}, JSON, true},
		{"application/json;q=0.2, application/*;q=0.7, */*;q=0.5", all, NDJSON, true},
		{"text/*;q=0.3, text/csv;q=0, */*;q=0.2", []Format{CSV, JSON}, JSON, true},
		{"application/x-ndjson;q=0, application/jsonl;q=0.4, */*;q=0.3", []Format{NDJSON, CSV}, NDJSON, true}, // names of one format
		{"application/json;charset=utf-8", []Format{CSV, JSON}, JSON, true},
		{`text/csv;header="present, or;q=0";q=0.5, application/json;q=0.4`, all, CSV, true},
		{`text/csv;a="\"";q=0.5`, all, CSV, true},
		{"text/csv;q=0.5;header=absent, application/json;q=0.4", all, CSV, true},
		{"text/csv;a=1;q=0, text/csv;a=2", all, CSV, true}, // parameters do not count, and the highest weight does
		{"text/csv;q=0.9, text/csv;q=0.1, application/json;q=0.5", all, CSV, true},
		{"text/csv; ;q=0.5", all, CSV, true},
		{"text/csv;", all, CSV, true},
		{"text/csv \t; \tQ=1.000 ,", all, CSV, true},
		{"*/csv", all, JSON, false}, // '*' is a character of names: a type that nobody has
		// Malformed: as if it were absent.
		{"csv", all, JSON, true},
		{"*", all, JSON, true},
		{"text/csv, *;q=.2", all, JSON, true},
		{"text/", all, JSON, true},
		{"/csv", all, JSON, true},
		{"text / csv", all, JSON, true},
		{"text/csv/x", all, JSON, true},
		{"text/csv;q=2", all, JSON, true},
		{"text/csv;q=1.001", all, JSON, true},
		{"text/csv;q=0.1234", all, JSON, true},
		{"text/csv;q=", all, JSON, true},
		{"text/csv;q", all, JSON, true},
		{"text/csv;q=-1", all, JSON, true},
		{"text/csv;q=.5", all, JSON, true},
		{"text/csv;q=1;q=1", all, JSON, true},
		{`text/csv;q="1"`, all, JSON, true},
		{"text/csv;q = 1", all, JSON, true},
		{"text/csv application/json", all, JSON, true},
		{`text/csv;a="`, all, JSON, true},
		{`text/csv;a="\`, all, JSON, true},
		{"text/csv;a=\"\x00\"", all, JSON, true},
		{"text/csv;a=\"\\\x01\"", all, JSON, true},
		{"text/csv\x00", all, JSON, true},
		{"text/csv;a=", all, JSON, true},
		{"text/csv, é", all, JSON, true},
	}
	for _, c := range cases {
		if got, ok := Choose(c.accept, c.offered...); got != c.want || ok != c.ok {
			t.Errorf("%q of %v: %v, %v; want %v, %v", c.accept, c.offered, got, ok, c.want, c.ok)
		}
	}
}

func TestWantsProblem(t *testing.T) {
	cases := map[string]bool{
		"":                               false,
		"*/*":                            false,
		"application/*":                  false,
		"application/json":               false,
		"application/problem+json":       true,
		"Application/Problem+JSON":       true,
		"application/problem+json;q=0":   false,
		"application/problem+json;q=0.1": true,
		"application/json, application/problem+json":                true,
		"application/json, application/problem+json;q=0.9":          false,
		"application/json;q=0.9, application/problem+json;q=0.9":    true,
		"*/*, application/problem+json;q=0.9":                       false,
		"text/csv, application/problem+json;q=0.5":                  true,
		"application/problem+json, application/json;q=0.5, */*;q=0": true,
		"application/problem+json;q=5":                              false,
		"application/problem+xml":                                   false,
	}
	for accept, want := range cases {
		if got := WantsProblem(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestContentType(t *testing.T) {
	for f, want := range map[Format][2]string{
		JSON: {"json", "application/json"}, NDJSON: {"ndjson", "application/x-ndjson"}, CSV: {"csv", "text/csv; charset=utf-8; header=present"},
	} {
		if f.String() != want[0] || f.ContentType() != want[1] {
			t.Errorf("%v: %s", f, f.ContentType())
		}
		if got, ok := Choose(want[1], f); got != f || !ok { // a client may send it back
			t.Errorf("%v is not chosen by its own type", f)
		}
	}
}

// The grammar of RFC 9110: 12.5.1, 8.3.1, 5.6.6, 5.6.4, 5.6.2, 5.6.1.2.
var (
	reToken     = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	reQuoted    = `"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"`
	reParameter = `[ \t]*;[ \t]*(?:` + reToken + `=(?:` + reToken + `|` + reQuoted + `))?`
	reElement   = reToken + `/` + reToken + `(?:` + reParameter + `)*`
	grammar     = regexp.MustCompile(`^(?:[ \t]*(?:` + reElement + `)?[ \t]*,)*[ \t]*(?:` + reElement + `)?[ \t]*$`)
	element     = regexp.MustCompile(reElement)
	parameter   = regexp.MustCompile(`;[ \t]*(` + reToken + `)=(` + reToken + `|` + reQuoted + `)`)
	qvalue      = regexp.MustCompile(`^(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$`)
)

// oracle is Choose by regular expressions and floating point. Bytes above 0x7f stand for themselves in them as Latin 1.
func oracle(accept string, offered []Format) (Format, bool) {
	latin := make([]rune, len(accept))
	for i := range len(accept) {
		latin[i] = rune(accept[i])
	}
	s := string(latin)
	if !grammar.MatchString(s) {
		return offered[0], true
	}
	type weighted struct {
		name string
		q    float64
	}
	var ranges []weighted
	for _, e := range element.FindAllString(s, -1) {
		name, _, _ := strings.Cut(e, ";")
		w := weighted{strings.ToLower(strings.TrimSpace(name)), 1}
		count := 0
		for _, p := range parameter.FindAllStringSubmatch(e, -1) {
			if strings.EqualFold(p[1], "q") {
				if count++; count > 1 || !qvalue.MatchString(p[2]) {
					return offered[0], true
				}
				w.q, _ = strconv.ParseFloat(p[2], 64)
			}
		}
		ranges = append(ranges, w)
	}
	if len(ranges) == 0 {
		return offered[0], true
	}
	names := map[Format][]string{
		JSON: {"application/json"}, NDJSON: {"application/x-ndjson", "application/ndjson", "application/jsonl"}, CSV: {"text/csv"},
	}
	best, most, level := offered[0], 0.0, -1
	for _, f := range offered {
		group, _, _ := strings.Cut(names[f][0], "/")
		for l, matching := range [][]string{names[f], {group + "/*"}, {"*/*"}} {
			q := -1.0
			for _, r := range ranges {
				if slices.Contains(matching, r.name) {
					q = max(q, r.q)
				}
			}
			if q < 0 {
				continue
			}
			if q > most || q == most && q > 0 && l < level {
				best, most, level = f, q, l
			}
			break
		}
	}
	return best, most > 0
}

func FuzzChoose(f *testing.F) {
	for _, s := range []string{
		"", "*/*", "text/csv;q=0.5, application/json;q=0.4", `text/*;a="b\",;q=0";q=0.001,*/*;q=0`, "application/jsonl ; Q=1.000 ,, application/*;q=0.999",
		"text/csv;q=1;q=0", "application/problem+json, application/json;q=0.", "text/csv;a=\"\xff\"", "a/b;q=0.1234",
		"text/csv;;;q=1", "text/csv;a;q=1", "a/b,c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		for _, offered := range [][]Format{{JSON, NDJSON, CSV}, {CSV, JSON}, {NDJSON}} {
			got, ok := Choose(accept, offered...)
			if want, wantOK := oracle(accept, offered); got != want || ok != wantOK {
				t.Errorf("%q of %v: %v, %v; want %v, %v", accept, offered, got, ok, want, wantOK)
			}
		}
		WantsProblem(accept)
	})
}

func TestChooseAllocates(t *testing.T) {
	offered := []Format{JSON, NDJSON, CSV}
	for _, accept := range []string{"", "*/*", "text/csv;q=0.5, Application/JSON;q=0.4;a=\"x\"", "malformed"} {
		if n := testing.AllocsPerRun(100, func() {
			Choose(accept, offered...)
			WantsProblem(accept)
		}); n > 0 {
			t.Errorf("%q: %v allocations", accept, n)
		}
	}
}
