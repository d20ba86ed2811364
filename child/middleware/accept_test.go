package middleware

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

func header(fields ...string) (h web.Header) {
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestPreferred(t *testing.T) {
	all := []coding{zstandard, brotlied, gzipped}
	only := []coding{gzipped}
	for _, c := range []struct {
		accept  string
		offered []coding
		want    coding
		plain   bool
	}{
		{"", all, identity, true},
		{"gzip", all, gzipped, true},
		{"gzip, deflate, br, zstd", all, zstandard, true},
		{"gzip, deflate, br", all, brotlied, true},
		{"zstd, gzip", []coding{gzipped, zstandard}, gzipped, true},
		{"GZip", all, gzipped, true},
		{"x-gzip", all, gzipped, true},
		{"X-GZIP;q=0.5", all, gzipped, true},
		{"deflate", all, identity, true},
		{"gzip;q=1.0, br;q=0.9, zstd;q=0.8", all, gzipped, true},
		{"gzip;q=0.001, br;q=0", all, gzipped, true},
		{"gzip;q=0", all, identity, true},
		{"br;q=0.5, zstd;q=0.5", all, zstandard, true},
		{"gzip ; q=0.7 , br\t;\tq=0.8", all, brotlied, true},
		{"gzip;Q=0.3", all, gzipped, true},
		{", ,gzip,,", all, gzipped, true},
		{"*", all, zstandard, true},
		{"*;q=0", all, identity, false},
		{"gzip, *;q=0", all, gzipped, false},
		{"identity;q=0", all, identity, false},
		{"identity;q=0, gzip;q=0.1", all, gzipped, false},
		{"*;q=0, identity", all, identity, true},
		{"identity, gzip", all, gzipped, true},
		{"identity, gzip;q=0.9", all, identity, true},
		{"identity;q=0.5, gzip", all, gzipped, true},
		{"gzip;q=0.2, *;q=0.5", only, identity, true},
		{"gzip;q=0.2, *;q=0.5", all, zstandard, true},
		{"br, *;q=0.1", only, gzipped, true},
		{"gzip, gzip;q=0", all, identity, true},
		// Malformed: as if it were absent.
		{"gzip;q=2", all, identity, true},
		{"gzip;q=1.001", all, identity, true},
		{"gzip;q=0.1234", all, identity, true},
		{"gzip;q=", all, identity, true},
		{"gzip;q=-1", all, identity, true},
		{"gzip;q=.5", all, identity, true},
		{"gzip;q=0,5", all, identity, true}, // "5" is a coding that nobody knows
		{"gzip;q", all, identity, true},
		{"gzip;", all, identity, true},
		{"gzip;level=1", all, identity, true},
		{"gzip;q=1;level=1", all, identity, true},
		{"gzip zstd", all, identity, true},
		{"gzip, \"br\"", all, identity, true},
		{"gzip, */*", all, identity, true},
		{";q=1", all, identity, true},
	} {
		h := header("Host", "x", "Accept-Encoding", c.accept)
		got, plain := preferred(&h, c.offered)
		if got != c.want || plain != c.plain {
			t.Errorf("%q: %v, plain %v; want %v, %v", c.accept, got, plain, c.want, c.plain)
		}
	}
	absent := header("Host", "x")
	if got, plain := preferred(&absent, all); got != identity || !plain {
		t.Errorf("without the field: %v, %v", got, plain)
	}
	lines := header("Accept-Encoding", "gzip;q=0.1", "accept-encoding", "br;q=0.2")
	if got, _ := preferred(&lines, all); got != brotlied {
		t.Errorf("of two lines: %v", got)
	}
}

// Whatever a client sends, the answer is one of the codings offered, and never one that it refuses.
func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"", "gzip", "gzip;q=0.5, br;q=1.0, *;q=0", "identity;q=0", "x-gzip, , ;q", "*;q=0.000, zstd;q=0.001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := header("Accept-Encoding", value)
		offered := []coding{brotlied, gzipped}
		got, plain := preferred(&h, offered)
		if got != identity && got != brotlied && got != gzipped {
			t.Fatalf("%q: %v was not offered", value, got)
		}
		if got == identity {
			return
		}
		named := false
		for element := range strings.SplitSeq(strings.ToLower(value), ",") {
			name, weight, _ := strings.Cut(element, ";")
			name = strings.TrimPrefix(trim(name), "x-")
			named = named || name == got.String() || name == "*"
			if name == got.String() && strings.Trim(weight, " \tq=0.") == "" && trim(weight) != "" {
				t.Errorf("%q: %v is refused there", value, got)
			}
		}
		if !named {
			t.Errorf("%q: %v is not accepted there", value, got)
		}
		// The same value twice means the same.
		twice := header("Accept-Encoding", value, "Accept-Encoding", value)
		if again, plainAgain := preferred(&twice, offered); again != got || plainAgain != plain {
			t.Errorf("%q twice: %v and %v", value, again, got)
		}
	})
}
