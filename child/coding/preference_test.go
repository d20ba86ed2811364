package coding

import (
	"regexp"
	"strconv"
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

func TestBest(t *testing.T) {
	all := []Coding{Zstd, Brotli, Gzip}
	only := []Coding{Gzip}
	cases := []struct {
		accept  string
		offered []Coding
		want    Coding
		plain   bool
	}{
		// RFC 9110, 12.5.3: its examples and rules.
		{"compress, gzip", all, Gzip, true},
		{"", all, Identity, true},
		{"*", all, Zstd, true},
		{"compress;q=0.5, gzip;q=1.0", all, Gzip, true},
		{"gzip;q=1.0, identity; q=0.5, *;q=0", all, Gzip, true},
		{"gzip;q=1.0, identity; q=0.5, *;q=0", []Coding{Brotli}, Identity, true},
		{"identity", all, Identity, true},
		{"identity;q=1", all, Identity, true},
		{"identity;q=0", only, Identity, false},
		{"identity;q=0.001", all, Identity, true},
		{"*;q=0.001", all, Zstd, true},
		{"*;q=0, identity;q=0.001", all, Identity, true},
		{"*;q=0, identity;q=0", all, Identity, false},
		{"*;q=1, zstd;q=0", all, Brotli, true},
		{"*;q=0.5, zstd;q=0.4, br;q=0.3", all, Gzip, true},
		{"*;q=0.5, identity;q=0.6", all, Identity, true},
		{"*;q=0, *;q=1", all, Identity, false},
		{"*, *;q=0", all, Identity, false},
		{"gzip", nil, Identity, true},
		{"identity;q=0", nil, Identity, false},
		{"gzip, br, zstd", []Coding{Brotli, Zstd, Gzip}, Brotli, true},
		{"zstd, br, gzip", []Coding{Gzip, Brotli, Zstd}, Gzip, true},
		{"zstd;q=0.9, br;q=0.9, gzip;q=0.9", []Coding{Brotli, Gzip}, Brotli, true},
		{"x-gzip;q=0, gzip", all, Identity, true}, // one coding under two names
		{"x-gzip;q=0.5, br;q=0.4", all, Gzip, true},
		{"x-compress, dcb, dcz", all, Identity, true},
		{"brotli, gz, zst, xgzip", all, Identity, true},
		// RFC 9110, 12.4.2: weights.
		{"gzip;q=0", all, Identity, true},
		{"gzip;q=0.", only, Identity, true},
		{"gzip;q=0.0", only, Identity, true},
		{"gzip;q=0.00", only, Identity, true},
		{"gzip;q=0.000", only, Identity, true},
		{"gzip;q=1.", only, Gzip, true},
		{"gzip;q=1.0", only, Gzip, true},
		{"gzip;q=1.00", only, Gzip, true},
		{"gzip;q=1.000", only, Gzip, true},
		{"gzip;q=0.5, br;q=0.50, zstd;q=0.500", all, Zstd, true},
		{"gzip;q=0.501, br;q=0.50, zstd;q=0.500", all, Gzip, true},
		{"gzip;q=0.999, br;q=1", all, Brotli, true},
		{"gzip;q=0.01, br;q=0.009", all, Gzip, true},
		{"gzip;q=0.1, br;q=0.099", all, Gzip, true},
		{"br;q=1.000, gzip", only, Gzip, true},
		// Elsewhere.
		{"gzip", all, Gzip, true},
		{"gzip, deflate, br, zstd", all, Zstd, true},
		{"gzip, deflate, br", all, Brotli, true},
		{"zstd, gzip", []Coding{Gzip, Zstd}, Gzip, true},
		{"GZip", all, Gzip, true},
		{"x-gzip", all, Gzip, true},
		{"X-GZIP;q=0.5", all, Gzip, true},
		{"deflate", all, Identity, true},
		{"gzip;q=1.0, br;q=0.9, zstd;q=0.8", all, Gzip, true},
		{"gzip;q=0.001, br;q=0", all, Gzip, true},
		{"gzip;q=0", all, Identity, true},
		{"br;q=0.5, zstd;q=0.5", all, Zstd, true},
		{"gzip ; q=0.7 , br\t;\tq=0.8", all, Brotli, true},
		{"gzip;Q=0.3", all, Gzip, true},
		{", ,gzip,,", all, Gzip, true},
		{"*", all, Zstd, true},
		{"*;q=0", all, Identity, false},
		{"gzip, *;q=0", all, Gzip, false},
		{"identity;q=0", all, Identity, false},
		{"identity;q=0, gzip;q=0.1", all, Gzip, false},
		{"*;q=0, identity", all, Identity, true},
		{"identity, gzip", all, Gzip, true},
		{"identity, gzip;q=0.9", all, Identity, true},
		{"identity;q=0.5, gzip", all, Gzip, true},
		{"gzip;q=0.2, *;q=0.5", only, Identity, true},
		{"gzip;q=0.2, *;q=0.5", all, Zstd, true},
		{"br, *;q=0.1", only, Gzip, true},
		{"gzip, gzip;q=0", all, Identity, true},
		// Malformed: as if it were absent.
		{"gzip;q=2", all, Identity, true},
		{"gzip;q=1.001", all, Identity, true},
		{"gzip;q=0.1234", all, Identity, true},
		{"gzip;q=", all, Identity, true},
		{"gzip;q=-1", all, Identity, true},
		{"gzip;q=.5", all, Identity, true},
		{"gzip;q=0,5", all, Identity, true}, // "5" is a coding that nobody knows
		{"gzip;q", all, Identity, true},
		{"gzip;", all, Identity, true},
		{"gzip;level=1", all, Identity, true},
		{"gzip;q=1;level=1", all, Identity, true},
		{"gzip zstd", all, Identity, true},
		{"gzip, \"br\"", all, Identity, true},
		{"gzip, */*", all, Identity, true},
		{";q=1", all, Identity, true},
		{"br, gzip;q=1.1", all, Identity, true},
		{"br, gzip;q=1.", all, Brotli, true},
		{"br, gzip;q=00", all, Identity, true},
		{"br, gzip;q=01", all, Identity, true},
		{"br, gzip;q=0.5a", all, Identity, true},
		{"br, gzip;q=0.0000", all, Identity, true},
		{"br, gzip;q=1.0001", all, Identity, true},
		{"br, gzip;q=+1", all, Identity, true},
		{"br, gzip;q=1e0", all, Identity, true},
		{"br, gzip;q= 1", all, Identity, true},
		{"br, gzip;q =1", all, Identity, true},
		{"br, gzip;q=\"1\"", all, Identity, true},
		{"br, gzip;q=\u0661", all, Identity, true},
		{"br, gzip;w=1", all, Identity, true},
		{"br, gzip;;q=1", all, Identity, true},
		{"br, gzip/1.0", all, Identity, true},
		{"br, =", all, Identity, true},
		{"br, **", all, Brotli, true}, // a coding that nobody knows: "*" is a character of tokens
		{"br\x00", all, Identity, true},
		{"br\x0b", all, Identity, true},
		{"gzip;q=0.5 br", all, Identity, true},
		{"*/*;q=0.5", all, Identity, true},
		{"identity;q=0, gzip;q=9", all, Identity, true},
	}
	for _, c := range cases {
		h := header("Host", "x", "Accept-Encoding", c.accept)
		got, plain := Read(&h).Best(c.offered)
		if got != c.want || plain != c.plain {
			t.Errorf("%q: %v, plain %v; want %v, %v", c.accept, got, plain, c.want, c.plain)
		}
	}
	absent := header("Host", "x")
	if got, plain := Read(&absent).Best(all); got != Identity || !plain {
		t.Errorf("without the field: %v, %v", got, plain)
	}
	lines := header("Accept-Encoding", "gzip;q=0.1", "accept-encoding", "br;q=0.2")
	if got, _ := Read(&lines).Best(all); got != Brotli {
		t.Errorf("of two lines: %v", got)
	}
}

// What is malformed says nothing at all, whatever stands beside it.
func TestReadMalformed(t *testing.T) {
	for _, lines := range [][]string{{"gzip;q=2"}, {"br", "gzip;q=2"}, {"gzip;q=2", "br"}, {"identity;q=0, br, gzip;"}} {
		var h web.Header
		for _, l := range lines {
			h.Add("Accept-Encoding", l)
		}
		if p := Read(&h); p != (Preference{}) {
			t.Errorf("%q: %v", lines, p)
		}
	}
	var none web.Header
	if Read(&none) != (Preference{}) {
		t.Error("nothing is something")
	}
	a, b := header("Accept-Encoding", "gzip;q=0.5,br"), header("Accept-Encoding", "BR, x-gzip ; q=0.500 , deflate")
	if Read(&a) != Read(&b) {
		t.Error("the same in other words differs")
	}
}

// grammar is Accept-Encoding as RFC 9110 writes it: 12.5.3, 12.4.2 and 5.6.1.2.
var grammar = regexp.MustCompile("^(?:" + element + ")?(?:" + ows + "," + ows + "(?:" + element + ")?)*$")

const (
	ows     = `[ \t]*`
	element = "[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:" + ows + ";" + ows + `[qQ]=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?`
)

// Whatever a client sends, the answer is one of the codings offered, and never one that it refuses. What does not follow the grammar counts
// as absent.
func FuzzPreference(f *testing.F) {
	for _, s := range []string{
		"", "gzip", "gzip;q=0.5, br;q=1.0, *;q=0", "identity;q=0", "x-gzip, , ;q", "*;q=0.000, zstd;q=0.001", "a;q=1.000,b;Q=0.,\t*", "gzip;q=1.001", ",;,", "br;q=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := header("Accept-Encoding", value)
		p := Read(&h)
		if !grammar.MatchString(strings.Trim(value, " \t")) && p != (Preference{}) {
			t.Fatalf("%q does not follow the grammar, and says %v", value, p)
		}
		offered := []Coding{Brotli, Gzip}
		got, plain := p.Best(offered)
		if got != Identity && got != Brotli && got != Gzip {
			t.Fatalf("%q: %v was not offered", value, got)
		}
		if !grammar.MatchString(strings.Trim(value, " \t")) {
			return
		}
		// The same by the regular expression and floating point.
		weights := map[string]float64{}
		for e := range strings.SplitSeq(strings.ToLower(value), ",") {
			name, weight, weighted := strings.Cut(e, ";")
			if name = strings.Trim(name, " \t"); name == "" {
				continue
			}
			if name == "x-gzip" {
				name = "gzip"
			}
			q := 1.0
			if weighted {
				q, _ = strconv.ParseFloat(strings.Trim(weight, " \tq="), 64)
			}
			if lower, ok := weights[name]; !ok || q < lower {
				weights[name] = q
			}
		}
		of := func(name string, otherwise float64) float64 {
			if q, ok := weights[name]; ok {
				return q
			}
			if q, ok := weights["*"]; ok {
				return q
			}
			return otherwise
		}
		want, most := Identity, 0.0
		for _, c := range offered {
			if q := of(c.String(), 0); q > most {
				want, most = c, q
			}
		}
		if of("identity", 0) > most {
			want = Identity
		}
		if got != want || plain != (of("identity", 1) > 0) {
			t.Errorf("%q: %v, %v; want %v of %v", value, got, plain, want, weights)
		}
		// The same value twice means the same.
		twice := header("Accept-Encoding", value, "Accept-Encoding", value)
		if Read(&twice) != p {
			t.Errorf("%q twice: %v and %v", value, Read(&twice), p)
		}
	})
}

// Reading and choosing are for each request on the loop.
func TestPreferenceAllocates(t *testing.T) {
	offered := []Coding{Zstd, Brotli, Gzip}
	for _, value := range []string{"gzip, deflate, br, zstd", "gzip;q=0.5, br;q=0.501, *;q=0, X-GZIP, identity;q=0.3", "gzip;q=7", ""} {
		h := header("Host", "x", "User-Agent", "y", "Accept", "*/*", "Accept-Encoding", value)
		if n := testing.AllocsPerRun(100, func() {
			p := Read(&h)
			p.Best(offered)
		}); n > 0 {
			t.Errorf("%q: %v allocations", value, n)
		}
	}
}
