package http1

import (
	"bytes"
	"net/http"
	"testing"
	"time"
)

// cuts turns two arbitrary numbers into places to split n bytes.
func cuts(n int, a, b uint) []int {
	if n == 0 {
		return nil
	}
	first, second := int(a%uint(n+1)), int(b%uint(n+1))
	return []int{min(first, second), max(first, second)}
}

// FuzzParserSplit: any split gives the result of the whole, and an accepted head keeps its promises.
func FuzzParserSplit(f *testing.F) {
	for _, c := range refused {
		f.Add([]byte(c.input), uint(len(c.input)/2), uint(len(c.input)-1), true)
	}
	for _, c := range accepted {
		f.Add([]byte(c.input), uint(3), uint(len(c.input)-1), false)
	}
	f.Fuzz(func(t *testing.T, input []byte, a, b uint, tight bool) {
		lim := small
		if !tight {
			lim = nil
		}
		var p Parser
		whole := feed(&p, input, lim)
		if got := feed(&p, input, lim, cuts(len(input), a, b)...); got != whole {
			t.Fatalf("split:\ngot  %+v\nwant %+v", got, whole)
		}
		if len(input) < 300 {
			if got := feed(&p, input, lim, everyByte(input)...); got != whole {
				t.Fatalf("byte by byte:\ngot  %+v\nwant %+v", got, whole)
			}
		}
		if whole.Err != nil {
			if s := whole.Err.Status; s != 400 && s != 414 && s != 431 && s != 501 && s != 505 {
				t.Fatalf("status %d", s)
			}
		}
		if whole.N > 0 {
			feed(&p, input, lim)
			checkHead(t, &p.Head, input, whole.N)
		}
	})
}

// checkHead: what holds for every accepted head.
func checkHead(t *testing.T, h *Head, input []byte, n int) {
	head := input[:n]
	if !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		t.Fatalf("head ends in %q", head)
	}
	lines := bytes.Count(head, []byte("\n"))
	if bytes.Count(head, []byte("\r\n")) != lines || bytes.Count(head, []byte("\r")) != lines {
		t.Fatalf("bare CR or LF in %q", head)
	}
	if bytes.IndexByte(head, 0) >= 0 {
		t.Fatalf("NUL in %q", head)
	}
	empty := 0
	if head[0] == '\r' {
		empty = 1
	}
	if want := lines - 2 - empty; len(h.Fields) != want {
		t.Fatalf("%d fields in %d lines", len(h.Fields), lines)
	}
	if h.Chunked && (h.ContentLength >= 0 || h.Minor == 0) {
		t.Fatalf("framing of %q", head)
	}
	if h.Minor > 0 && h.Host.Len == 0 {
		t.Fatalf("no host in %q", head)
	}
	if host := h.Host.In(head); len(host) > 0 && !validAuthority(host, false) {
		t.Fatalf("host %q", host)
	}
	if path := h.Path.In(head); h.Form <= AbsoluteForm && (len(path) == 0 || path[0] != '/') {
		t.Fatalf("path %q", path)
	}
	for _, f := range h.Fields {
		if !ValidFieldName(f.Name.Of(string(head))) || !ValidFieldValue(f.Value.Of(string(head))) {
			t.Fatalf("field %q", f.Name.In(head))
		}
	}
}

// FuzzChunkedSplit: any split gives the result of the whole, and what is encoded is decoded.
func FuzzChunkedSplit(f *testing.F) {
	for _, input := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5 ; a = \"b\\\"\" ;c\r\nhello\r\n000;x\r\nX: y\r\nZ:\r\n\r\nGET", "7fffffffffffffff\r\nx", "5\nhello",
		"0\r\nHost: a\r\n\r\n", "1\r\na\rb", "ffffffffffffffff1\r\n", "0\r\n X: y\r\n\r\n", "0\r\nContent-Digest: y\r\n\r\n",
	} {
		f.Add([]byte(input), uint(2), uint(len(input)-1), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, a, b uint, tight bool) {
		lim := small
		if !tight {
			lim = nil
		}
		var c Chunked
		whole := decode(&c, input, lim)
		if got := decode(&c, input, lim, cuts(len(input), a, b)...); got != whole {
			t.Fatalf("split:\ngot  %+v\nwant %+v", got, whole)
		}
		if len(input) < 300 {
			if got := decode(&c, input, lim, everyByte(input)...); got != whole {
				t.Fatalf("byte by byte:\ngot  %+v\nwant %+v", got, whole)
			}
		}
		if len(input) > 0 {
			wire := append(AppendChunkSize(nil, len(input)), input...)
			wire = AppendLastChunk(AppendEnd(wire), trailer("X", string(input)))
			got := decode(&c, wire, nil)
			if !got.Done && got.Err.Status != 431 || got.Done && (got.N != len(wire) || got.Data != string(input)) {
				t.Fatalf("encoded %q, decoded %+v", wire, got)
			}
		}
	})
}

// FuzzDate: what is parsed is a date that net/http, which is less strict, knows too, and what is appended is parsed.
func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", int64(784111777))
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT", int64(0))
	f.Add("Sun Nov  6 08:49:37 1994", int64(-62167219200))
	f.Add("Sat, 31 Dec 2016 23:59:60 GMT", int64(253402300799))
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		if got, ok := ParseHTTPDate(s, dateNow); ok && !bytes.Contains([]byte(s), []byte(":60")) {
			want, err := http.ParseTime(s)
			if err != nil {
				t.Fatalf("%q: net/http says %v", s, err)
			}
			if diff := got.Year() - want.Year(); diff != 0 && !(len(s) > 29 || s[3] != ',' && s[3] != ' ') || diff%100 != 0 {
				t.Fatalf("%q: %v, net/http says %v", s, got, want)
			}
			if got.Year() == want.Year() && !got.Equal(want) {
				t.Fatalf("%q: %v, net/http says %v", s, got, want)
			}
		}
		at := time.Unix(unix, 0)
		wire := string(AppendDate(nil, at))
		got, ok := ParseHTTPDate(wire, dateNow)
		if !ok || len(wire) != 29 {
			t.Fatalf("%d: appended %q", unix, wire)
		}
		if year := at.UTC().Year(); year >= 0 && year <= 9999 && got.Unix() != unix {
			t.Fatalf("%d: appended %q, parsed %d", unix, wire, got.Unix())
		}
	})
}
