package http1

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// small are limits that the tables can reach.
var small = &Limits{RequestLine: 60, HeaderBytes: 120, HeaderCount: 6, ChunkLine: 24, TrailerBytes: 48}

// outcome is all that a caller can see of a parse, without spans, so that outcomes compare.
type outcome struct {
	N       int
	Err     *Error
	Started bool
	Head    string
}

func describe(h *Head, buf []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s(%s) %s %s path=%s", h.Method.In(buf), h.MethodID, h.Form, h.Target.In(buf), h.Path.In(buf))
	if h.HasQuery {
		fmt.Fprintf(&b, " query=%s", h.Query.In(buf))
	}
	if h.HasEscape {
		b.WriteString(" escape")
	}
	fmt.Fprintf(&b, " host=%s 1.%d length=%d", h.Host.In(buf), h.Minor, h.ContentLength)
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{h.Chunked, "chunked"}, {h.KeepAlive, "keep"}, {h.Upgrade, "upgrade"},
		{h.Expect == ExpectContinue, "continue"}, {h.Expect == ExpectUnknown, "expect?"},
	} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	for _, f := range h.Fields {
		fmt.Fprintf(&b, " [%s|%s]", f.Name.In(buf), f.Value.In(buf))
	}
	return b.String()
}

// feed gives the parser growing pieces of input, each in memory of its own, as an owner that moves its buffer does.
func feed(p *Parser, input []byte, lim *Limits, cuts ...int) outcome {
	p.Reset()
	var o outcome
	for _, cut := range append(cuts, len(input)) {
		buf := bytes.Clone(input[:cut])
		n, err := p.Feed(buf, lim)
		if err != nil {
			again, errAgain := p.Feed(buf, lim)
			if n != 0 || again != 0 || errAgain != err {
				panic("an error must be final and consume nothing")
			}
			return outcome{Err: err.(*Error), Started: p.Started()}
		}
		if n > 0 {
			return outcome{N: n, Started: p.Started(), Head: describe(&p.Head, buf)}
		}
		o = outcome{Started: p.Started()}
	}
	return o
}

func everyByte(input []byte) (cuts []int) {
	for i := range input {
		cuts = append(cuts, i)
	}
	return cuts
}

// checkSplits compares the whole with every split in two and with single bytes.
func checkSplits(t *testing.T, input []byte, lim *Limits) outcome {
	t.Helper()
	var p Parser
	whole := feed(&p, input, lim)
	for cut := range input {
		if got := feed(&p, input, lim, cut); got != whole {
			t.Fatalf("split at %d of %q:\ngot  %+v\nwant %+v", cut, input, got, whole)
		}
	}
	if got := feed(&p, input, lim, everyByte(input)...); got != whole {
		t.Fatalf("byte by byte %q:\ngot  %+v\nwant %+v", input, got, whole)
	}
	return whole
}

// TestRefused: what is wrong, by the section that says so.
func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			got := checkSplits(t, []byte(c.input), small)
			if got.Err == nil || got.Err.Status != c.status {
				t.Errorf("%s: %q: got %+v, want status %d", c.section, c.input, got, c.status)
			}
			// What follows in the buffer must not change the verdict.
			if more := checkSplits(t, []byte(c.input+"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), small); more != got {
				t.Errorf("with more input: got %+v, want %+v", more, got)
			}
		})
	}
}

// TestAccepted: what is right, and what it means.
func TestAccepted(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			got := checkSplits(t, []byte(c.input), small)
			if got.Err != nil || got.N != len(c.input) || got.Head != c.head {
				t.Errorf("%s: %q:\ngot  %+v\nwant %s", c.section, c.input, got, c.head)
			}
			if more := checkSplits(t, []byte(c.input+"\r\nBODY\x00"), small); more != got {
				t.Errorf("with more input: got %+v, want %+v", more, got)
			}
			var p Parser
			for cut := range c.input {
				if got := feed(&p, []byte(c.input[:cut]), small); got.N != 0 || got.Err != nil {
					t.Fatalf("the first %d bytes: got %+v, want more bytes needed", cut, got)
				}
			}
		})
	}
}

// TestFieldBytes tries every byte in names and values (RFC 9110, 5.1 and 5.5).
func TestFieldBytes(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		b := string([]byte{byte(c)})
		inName := "GET / HTTP/1.1\r\nHost: a\r\nX" + b + "Y: v\r\n\r\n"
		got := checkSplits(t, []byte(inName), nil)
		if want := strings.Contains(token, b) || b == ":"; (got.Err == nil) != want {
			t.Errorf("byte %#x in a name: %+v", c, got)
		}
		for pad := range 10 { // every lane of the eight bytes at a time
			value := strings.Repeat("v", pad) + b + strings.Repeat("\xff", 9-pad) + "w"
			got = checkSplits(t, []byte("GET / HTTP/1.1\r\nHost: a\r\nX: y"+value+"\r\n\r\n"), nil)
			if want := c == '\t' || c >= ' ' && c != 0x7f; (got.Err == nil) != want {
				t.Errorf("byte %#x at %d in a value: %+v", c, pad, got)
			}
		}
		method := checkSplits(t, []byte("M"+b+"N / HTTP/1.1\r\nHost: a\r\n\r\n"), nil)
		if want := strings.Contains(token, b); (method.Err == nil) != want {
			t.Errorf("byte %#x in a method: %+v", c, method)
		}
		target := checkSplits(t, []byte("GET /a"+b+"41 HTTP/1.1\r\nHost: a\r\n\r\n"), nil)
		if want := c > ' ' && c < 0x7f && !strings.Contains("#\"<>\\^`{}", b); (target.Err == nil) != want {
			t.Errorf("byte %#x in a target: %+v", c, target)
		}
		host := checkSplits(t, []byte("GET / HTTP/1.1\r\nHost: a"+b+"41\r\n\r\n"), nil)
		if want := strings.Contains("-._~%!$&'()*+;=:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b); (host.Err == nil) != want {
			t.Errorf("byte %#x in a host: %+v", c, host)
		}
	}
}

// TestLimitEdges: the last byte that fits, and the first that does not.
func TestLimitEdges(t *testing.T) {
	lim := &Limits{RequestLine: 40, HeaderBytes: 50, HeaderCount: 3}
	line := func(n int) string { return "GET /" + strings.Repeat("a", n-14) + " HTTP/1.1\r\n" }
	field := func(n int) string { return "X:" + strings.Repeat("v", n-4) + "\r\n" }
	const host = "Host:a\r\n" // 8 bytes
	for _, c := range []struct {
		input  string
		status int
	}{
		{line(40) + host + "\r\n", 0},
		{line(41) + host + "\r\n", 414},
		{"\r\n" + line(40) + host + "\r\n", 0},
		{"GET /" + strings.Repeat("a", 37), 414}, // without an end of line
		{"GET /" + strings.Repeat("a", 36), 0},   // the CRLF may still come
		{line(30) + host + field(42) + "\r\n", 0},
		{line(30) + host + field(43) + "\r\n", 431},
		{line(30) + host + "X:" + strings.Repeat("v", 42), 431},
		{line(30) + host + "A:\r\nB:\r\n\r\n", 0},
		{line(30) + host + "A:\r\nB:\r\nC:\r\n\r\n", 431},
		{line(30) + host + "A:\r\nB:\r\nC\r: d\r\n\r\n", 400},
	} {
		got := checkSplits(t, []byte(c.input), lim)
		status := 0
		if got.Err != nil {
			status = got.Err.Status
		}
		if status != c.status {
			t.Errorf("%q: status %d, want %d", c.input, status, c.status)
		}
	}
	big := "GET /" + strings.Repeat("a", DefaultRequestLine-14) + " HTTP/1.1\r\nHost:a\r\n"
	var p Parser
	if got := feed(&p, []byte(big+"\r\n"), nil); got.Err != nil || got.N == 0 {
		t.Errorf("a request line of the default limit: %+v", got.Err)
	}
	if got := feed(&p, []byte(big+strings.Repeat("A:\r\n", DefaultHeaderCount-1)+"\r\n"), nil); got.Err != nil {
		t.Errorf("as many fields as by default: %+v", got.Err)
	}
	if got := feed(&p, []byte(big+strings.Repeat("A:\r\n", DefaultHeaderCount)+"\r\n"), nil); got.Err != errHeaderCount {
		t.Errorf("more fields than by default: %+v", got.Err)
	}
}

// TestStarted: an idle connection stays idle over the empty line that is tolerated.
func TestStarted(t *testing.T) {
	var p Parser
	input := []byte("\r\nG")
	for cut, want := range []bool{false, false, false, true} {
		if _, err := p.Feed(input[:cut], nil); err != nil || p.Started() != want {
			t.Errorf("after %q: started %v, error %v", input[:cut], p.Started(), err)
		}
	}
	p.Reset()
	if p.Started() {
		t.Error("started after Reset")
	}
}

// TestPipeline: one parser, one message after the other, with and without Reset, nothing left over from the last.
func TestPipeline(t *testing.T) {
	input := []byte("POST /a%20b?q HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\nUpgrade: x\r\nConnection: upgrade, close\r\n\r\n" +
		"\r\nGET / HTTP/1.0\r\n\r\n" + "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n")
	want := []string{
		"POST(POST) origin-form /a%20b?q path=/a%20b query=q escape host=a 1.1 length=0 upgrade continue [Host|a] [Expect|100-continue] [Content-Length|0] [Upgrade|x] [Connection|upgrade, close]",
		"GET(GET) origin-form / path=/ host= 1.0 length=-1",
		"OPTIONS(OPTIONS) asterisk-form * path=* host=b 1.1 length=-1 keep [Host|b]",
	}
	for _, reset := range []bool{true, false} {
		var p Parser
		var got []string
		for rest := input; len(rest) > 0; {
			n, err := p.Feed(rest, nil)
			if n == 0 {
				t.Fatalf("stopped at %q: %v", rest, err)
			}
			got = append(got, describe(&p.Head, rest))
			rest = rest[n:]
			if reset {
				p.Reset()
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestEarlyRefusal: what cannot become a request is refused before its line ends.
func TestEarlyRefusal(t *testing.T) {
	for input, want := range map[string]*Error{
		"\x16\x03\x01":               errMethod, // a TLS ClientHello
		"\n":                         errLineEnd,
		"GET / HTTP/1.1\n":           errLineEnd,
		"GET / HTTP/1.1\rX":          errLineEnd,
		"GET / HTTP/1.1\r\nHost: \n": errLineEnd,
		"GET / HTTP/1.1\r\nHost\r\r": errLineEnd,
		"\r\n\r":                     errEmptyLines,
		strings.Repeat("A", 33):      errMethodTooLong,
	} {
		if got := checkSplits(t, []byte(input), nil); got.Err != want {
			t.Errorf("%q: %+v, want %v", input, got, want)
		}
	}
}

// TestTrickleIsLinear: single bytes of a large head cost about as many looks at bytes as there are.
func TestTrickleIsLinear(t *testing.T) {
	input := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("v", 30<<10))
	var p Parser
	for i := range input {
		if n, err := p.Feed(input[:i+1], nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if p.scan != i+1 && input[i] != '\r' {
			t.Fatalf("after %d bytes: %d were searched", i+1, p.scan)
		}
	}
}

func TestHeadField(t *testing.T) {
	input := []byte("GET / HTTP/1.1\r\nHost: a\r\nAccept: x\r\naccept: y\r\nEmpty:\r\n\r\n")
	var p Parser
	if n, err := p.Feed(input, nil); n != len(input) {
		t.Fatal(n, err)
	}
	for _, c := range []struct {
		name, value string
		ok          bool
	}{{"ACCEPT", "x", true}, {"Empty", "", true}, {"Missing", "", false}} {
		if v, ok := p.Head.Field(input, c.name); string(v) != c.value || ok != c.ok {
			t.Errorf("%s: %q, %v", c.name, v, ok)
		}
	}
	if got := p.Head.Fields[1].Value.Of(string(input)); got != "x" {
		t.Errorf("Span.Of: %q", got)
	}
}

func TestError(t *testing.T) {
	if got := errRequestLineLong.Error(); got != "http1: request line too long (414)" {
		t.Error(got)
	}
}
