package wire

import (
	"encoding/base64"
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A field of CSV, by the grammar of RFC 4180, 2, read by hand: encoding/csv does not tell an empty field from a quoted one, makes LF of CRLF,
// and skips empty lines.
type field struct {
	text   string
	quoted bool
}

func records(t *testing.T, s string) (records [][]field) {
	t.Helper()
	for s != "" {
		var record []field
		for {
			var f field
			if f.quoted = strings.HasPrefix(s, `"`); f.quoted {
				s = s[1:]
				for {
					before, after, ok := strings.Cut(s, `"`)
					if !ok {
						t.Fatalf("a quote is missing: %q", s)
					}
					f.text, s = f.text+before, after
					if !strings.HasPrefix(s, `"`) {
						break
					}
					f.text, s = f.text+`"`, s[1:]
				}
			} else {
				n := strings.IndexAny(s, ",\r\n\"")
				if n < 0 {
					t.Fatalf("a line without an end: %q", s)
				}
				f.text, s = s[:n], s[n:]
			}
			record = append(record, f)
			var more bool
			if s, more = strings.CutPrefix(s, ","); more {
				continue
			}
			var ended bool
			if s, ended = strings.CutPrefix(s, "\r\n"); !ended {
				t.Fatalf("behind a field: %.20q", s)
			}
			break
		}
		records = append(records, record)
	}
	return records
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("\x02\x01a\x01a\x03\x05h\"l,o\x04\x02\xff\x00\x01\x08\x7f\xff\xff\xff\xff\xff\xff\xff\x02\x08\x3f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x03\x00\x04\x00"))
	f.Add([]byte("\x01\x01,\x00\x03\x02\r\n\x03\x01 "))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, rows := fuzzed(data)
		out := encoded(NewEncoder(CSV, names, Options{}), NewTable(names, rows))
		got := records(t, out)
		if len(got) != len(rows)+1 || len(got[0]) != len(names) {
			t.Fatalf("%d rows are %d records: %q", len(rows), len(got), out)
		}
		seen := map[string]bool{}
		for _, f := range got[0] {
			if seen[f.text] {
				t.Fatalf("the name %q is there twice", f.text)
			}
			seen[f.text] = true
		}
		for i, row := range rows {
			for j, v := range row {
				if !sameField(v, got[i+1][j]) {
					t.Fatalf("%v %q became %+v", v, v.Bytes, got[i+1][j])
				}
			}
		}
		checkLibrary(t, out, got)
	})
}

func sameField(v engine.Value, f field) bool {
	switch v.Kind {
	case engine.Integer:
		return f == field{text: strconv.FormatInt(v.Int, 10)}
	case engine.Real:
		if math.IsNaN(v.Real) || math.IsInf(v.Real, 0) {
			return f == field{}
		}
		back, err := strconv.ParseFloat(f.text, 64)
		return err == nil && !f.quoted && math.Float64bits(back) == math.Float64bits(v.Real)
	case engine.Text:
		return f.text == string(v.Bytes) && (f.text != "" || f.quoted)
	case engine.Blob:
		b, err := base64.StdEncoding.DecodeString(f.text)
		return err == nil && string(b) == string(v.Bytes) && f.quoted == (len(b) == 0)
	}
	return f == field{}
}

// checkLibrary compares with encoding/csv, as far as that keeps what it reads.
func checkLibrary(t *testing.T, out string, want [][]field) {
	r := csv.NewReader(strings.NewReader(out))
	r.FieldsPerRecord = -1
	got, err := r.ReadAll()
	if err != nil {
		t.Fatalf("encoding/csv: %v: %q", err, out)
	}
	for _, record := range want {
		if len(record) == 1 && record[0] == (field{}) {
			continue
		}
		if len(got) == 0 || len(got[0]) != len(record) {
			t.Fatalf("encoding/csv misses %v in %q", record, out)
		}
		for i, f := range record {
			if got[0][i] != strings.ReplaceAll(f.text, "\r\n", "\n") {
				t.Fatalf("encoding/csv reads %q for %+v", got[0][i], f)
			}
		}
		got = got[1:]
	}
	if len(got) > 0 {
		t.Fatalf("encoding/csv reads more: %q", got)
	}
}
