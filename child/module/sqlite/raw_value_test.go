package sqlite

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
)

// rawString and rawFloat write what encoding/json writes.
func FuzzRawString(f *testing.F) {
	for _, seed := range []string{"", "a\"\\\b\f\n\r\t\x00\x1f\x7f", "<&>\u2028\u2029é😀", "\xff\xc3\xed\xa0\x80"} {
		f.Add(seed, 1.5)
	}
	for _, seed := range []float64{0, math.Copysign(0, -1), 1, 1e20, 1e21, 1e-6, 1e-7, 1e-10, 1e100, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		f.Add("", seed)
	}
	f.Fuzz(func(t *testing.T, s string, n float64) {
		want, err := json.Marshal(s)
		if got := rawString(nil, []byte(s)); err != nil || string(got) != string(want) {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
		want, err = json.Marshal(n)
		if err != nil {
			want = []byte("null")
		}
		if got := rawFloat(nil, n); string(got) != string(want) {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	})
}

// Indenting in pieces is json.Indent, wherever the pieces end.
func FuzzRawIndent(f *testing.F) {
	for _, seed := range []string{`{}`, `[]`, `{"a":[{},[],"{[,:]}\\\"",1,true]}`, `[[[]],{"a":{"b":null}}]`, `"a"`} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, content []byte, at int) {
		var small, want bytes.Buffer
		if json.Compact(&small, content) != nil || json.Indent(&want, small.Bytes(), "", "    ") != nil {
			return
		}
		at = max(0, min(at, small.Len()))
		var x rawIndent
		if got := x.append(x.append(nil, small.Bytes()[:at]), small.Bytes()[at:]); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s at %d:\n%s\nwant\n%s", small.Bytes(), at, got, want.Bytes())
		}
	})
}
