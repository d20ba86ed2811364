package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A difference is a class of inputs on which net/http.ReadRequest decides otherwise than we do, and the reason why we
// stay with our decision. Some of them net/http's Server checks later (the Host field, the version).
type difference struct {
	class        string
	ours, theirs decision
	section      string
	why          string
	has          func(r *rough) bool // whether an input is of the class
}

type decision string

const (
	accepts decision = "accepts"
	refuses decision = "refuses"
)

// differences is the whole of what we know to differ. An input that is decided otherwise and is in no class is a
// finding: of a mistake here or there, or of a row that is missing.
var differences = []difference{
	{"LF without CR", refuses, accepts, "RFC 9112, 2.2", "may be taken for a line end; proxies differ in it, and so requests can be smuggled",
		func(r *rough) bool { return bareLF.MatchString(r.head) }},
	{"an empty line before the request", accepts, refuses, "RFC 9112, 2.2", "one should be ignored",
		func(r *rough) bool { return strings.HasPrefix(r.head, "\r\n") }},
	{"a method of more than 32 bytes", refuses, accepts, "RFC 9112, 3", "longer than any that is implemented",
		func(r *rough) bool { return len(r.method) > MaxMethod }},
	{"bytes in the target that no URI has", refuses, accepts, "RFC 3986, 3.3 and 3.4; RFC 9112, 3.2", "it takes what url.Parse takes",
		func(r *rough) bool { return noTarget.MatchString(r.target) || noPath.MatchString(r.path) }},
	{"% without two hexadecimal digits", refuses, accepts, "RFC 3986, 2.1", "url.Parse looks for them in the path alone",
		func(r *rough) bool { return loosePercent.MatchString(r.target) }},
	{"a target in absolute-form that is no http URI with a host", refuses, accepts, "RFC 9110, 4.2; RFC 9112, 3.2.2", "it takes what url.Parse takes",
		func(r *rough) bool {
			return r.method != "CONNECT" && !strings.HasPrefix(r.target, "/") && !r.absolute()
		}},
	{"% in the host of the target", accepts, refuses, "RFC 3986, 3.2.2", "a reg-name has it; url.Parse does not take it for ASCII",
		func(r *rough) bool { return r.absolute() && strings.Contains(r.authority, "%") }},
	{"CONNECT without host and port", refuses, accepts, "RFC 9112, 3.2.3", "authority-form is for it, and it for authority-form",
		func(r *rough) bool {
			return r.method == "CONNECT" && !(isAuthority(r.target) && port.MatchString(r.target))
		}},
	{"* of another method than OPTIONS, or with more", refuses, accepts, "RFC 9112, 3.2.4", "the form is for OPTIONS",
		func(r *rough) bool {
			return strings.HasPrefix(r.target, "*") && (r.method != "OPTIONS" || r.target != "*")
		}},
	{"another major version than 1", refuses, accepts, "RFC 9110, 15.6.6", "ReadRequest leaves it to its caller",
		func(r *rough) bool { return otherMajor.MatchString(r.version) }},
	{"a field line that begins with whitespace", refuses, accepts, "RFC 9112, 2.2 and 5.2", "net/textproto unfolds lines",
		func(r *rough) bool {
			return slices.ContainsFunc(r.lines, func(l string) bool { return l != "" && strings.Contains(" \t", l[:1]) })
		}},
	{"whitespace in a field name or behind it", refuses, accepts, "RFC 9112, 5.1", "net/textproto keeps the name, so that Server can refuse it",
		func(r *rough) bool {
			return slices.ContainsFunc(r.fields, func(f field) bool { return strings.Contains(f.name, " ") })
		}},
	{"more or longer lines than our limits", refuses, accepts, "RFC 6585, 5; RFC 9112, 3", "other limits",
		func(r *rough) bool {
			lim := r.limits
			return len(r.lines) > orDefault(lim.HeaderCount, DefaultHeaderCount) || len(r.head) > orDefault(lim.HeaderBytes, DefaultHeaderBytes) ||
				len(r.first) > orDefault(lim.RequestLine, DefaultRequestLine)
		}},
	{"not exactly one Host in HTTP/1.1, or one that is no host", refuses, accepts, "RFC 9112, 3.2; RFC 9110, 7.2", "ReadRequest leaves it to its caller",
		func(r *rough) bool {
			hosts := r.all("Host")
			return len(hosts) == 0 && r.version != "HTTP/1.0" || slices.ContainsFunc(hosts, func(h string) bool { return !isAuthority(h) })
		}},
	{"equal lengths", refuses, accepts, "RFC 9110, 8.6", "a recipient may mend them; we need not",
		func(r *rough) bool { return len(r.all("Content-Length")) > 1 }},
	{"a length of more than 19 digits", refuses, accepts, "RFC 9110, 8.6", "zeros in front of what an int64 holds; nobody sends them",
		func(r *rough) bool {
			return slices.ContainsFunc(r.all("Content-Length"), func(n string) bool { return len(n) > 19 })
		}},
	{"a length and a transfer coding", refuses, accepts, "RFC 9112, 6.1", "a recipient may ignore the length; it may be an attempt at smuggling",
		func(r *rough) bool { return len(r.all("Transfer-Encoding")) > 0 && len(r.all("Content-Length")) > 0 }},
	{"a transfer coding in HTTP/1.0", refuses, accepts, "RFC 9112, 6.1", "faulty framing; it ignores the field and closes",
		func(r *rough) bool { return len(r.all("Transfer-Encoding")) > 0 && r.version == "HTTP/1.0" }},
}

// rough is a head taken apart as loosely as net/http does, by no code of the package under test.
type rough struct {
	head                          string // to the empty line
	first                         string // line
	method, target, version, path string
	authority                     string // of a target in absolute-form
	lines                         []string
	fields                        []field
	limits                        Limits
}

type field struct{ name, value string }

var (
	emptyLine    = regexp.MustCompile(`\n\r?\n`)
	bareLF       = regexp.MustCompile(`(^|[^\r])\n`)
	noTarget     = regexp.MustCompile("[^!$%&'()*+,./0-9:;=?@A-Z\\[\\]_a-z|~{}^\\\\`-]")
	noPath       = regexp.MustCompile("[{}^\\\\`]")
	loosePercent = regexp.MustCompile(`%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)`)
	absoluteForm = regexp.MustCompile(`^(?i:https?)://([^/?]*)`)
	otherMajor   = regexp.MustCompile(`^HTTP/[02-9]\.[0-9]$`)
	host         = regexp.MustCompile(`^(?:([!$&'()*+;=._~0-9A-Za-z-]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]+)\])(:[0-9]*)?$`)
	port         = regexp.MustCompile(`:[0-9]+$`)
)

func roughly(input string, lim *Limits) *rough {
	if lim == nil {
		lim = &noLimits
	}
	text := strings.TrimPrefix(input, "\r\n")
	lead := len(input) - len(text)
	if end := emptyLine.FindStringIndex(text); end != nil {
		text = text[:end[1]]
	}
	r := &rough{head: input[:lead+len(text)], limits: *lim}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if i == 0 {
			r.first = line
			r.method, line, _ = strings.Cut(line, " ")
			if last := strings.LastIndexByte(line, ' '); last >= 0 {
				r.target, r.version = line[:last], line[last+1:]
			}
			continue
		}
		if line == "" {
			break
		}
		r.lines = append(r.lines, line)
		if name, value, ok := strings.Cut(line, ":"); ok {
			r.fields = append(r.fields, field{name, strings.Trim(value, " \t")})
		}
	}
	r.path, _, _ = strings.Cut(r.target, "?")
	if m := absoluteForm.FindStringSubmatch(r.target); m != nil {
		r.authority = m[1]
	}
	return r
}

// absolute reports whether the target is a http URI with a host.
func (r *rough) absolute() bool {
	return absoluteForm.MatchString(r.target) && isAuthority(r.authority)
}

// all gives the values of the fields with this name, to which net/http does not count the space behind it.
func (r *rough) all(name string) (values []string) {
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

// isAuthority reports whether s is a host with or without a port.
func isAuthority(s string) bool {
	m := host.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	if m[2] != "" {
		if a, err := netip.ParseAddr(m[2]); err != nil || !a.Is6() {
			return false
		}
	}
	if n := strings.TrimPrefix(m[3], ":"); n != "" {
		_, err := strconv.ParseUint(n, 10, 16)
		return err == nil
	}
	return true
}

// explain gives the rows of the table for an input that is accepted by one of the two only.
func explain(input string, lim *Limits, ours bool) (rows []int) {
	r := roughly(input, lim)
	for i, d := range differences {
		if (d.ours == accepts) == ours && d.has(r) {
			rows = append(rows, i)
		}
	}
	return rows
}

// TestDifferential compares the verdicts on every case of the tables with net/http's, and the meaning where both
// accept. Every difference is explained by the table, and every row of the table explains one.
func TestDifferential(t *testing.T) {
	used := make([]bool, len(differences))
	check := func(name, input string, ours bool) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(input)))
		if err == nil && ours {
			compareRequests(t, name, input, req)
		}
		if (err == nil) == ours {
			return
		}
		rows := explain(input, small, ours)
		if len(rows) == 0 {
			t.Errorf("%q: %q: accepted by us %v, net/http says %v, and no row explains it", name, input, ours, err)
		}
		for _, row := range rows {
			used[row] = true
		}
	}
	for _, c := range refused {
		check(c.name, c.input, false)
	}
	for _, c := range accepted {
		check(c.name, c.input, true)
	}
	for i, d := range differences {
		if !used[i] {
			t.Errorf("no case is %q: is it still a difference?", d.class)
		}
		if d.ours == d.theirs || d.section == "" || d.why == "" {
			t.Errorf("%q: an unfinished row", d.class)
		}
	}
}

func compareRequests(t *testing.T, name, input string, req *http.Request) {
	var p Parser
	buf := []byte(input)
	if n, err := p.Feed(buf, nil); n != len(input) {
		t.Errorf("%q: %v", name, err)
		return
	}
	h := &p.Head
	if string(h.Method.In(buf)) != req.Method || string(h.Target.In(buf)) != req.RequestURI || string(h.Query.In(buf)) != req.URL.RawQuery {
		t.Errorf("%q: net/http reads %s %s, query %s", name, req.Method, req.RequestURI, req.URL.RawQuery)
	}
	if length := req.ContentLength; !h.Chunked && max(h.ContentLength, 0) != length || h.Chunked && length != -1 {
		t.Errorf("%q: net/http reads a length of %d", name, length)
	}
	fields := 0
	for _, values := range req.Header {
		fields += len(values)
	}
	if _, host := h.Field(buf, "Host"); host { // net/http takes these two out
		fields++
	}
	if h.Chunked {
		fields++
	}
	if fields != len(h.Fields) {
		t.Errorf("%q: net/http reads %d fields", name, fields)
	}
}

// FuzzParserAgainstNetHTTP: what both accept, both frame alike, and what only one accepts the table explains.
func FuzzParserAgainstNetHTTP(f *testing.F) {
	for _, c := range accepted {
		f.Add([]byte(c.input))
	}
	for _, c := range refused {
		f.Add([]byte(c.input))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var p Parser
		n, err := p.Feed(input, nil)
		ours := n > 0 && err == nil
		head := input
		if ours {
			head = input[:n]
		}
		in := bufio.NewReader(bytes.NewReader(head))
		req, theirs := http.ReadRequest(in)
		if ours != (theirs == nil) {
			if len(explain(string(head), nil, ours)) == 0 {
				t.Fatalf("%q: we say %v, net/http %v, and no row of the table explains it", input, err, theirs)
			}
			return
		}
		if !ours {
			return
		}
		h := &p.Head
		if length := req.ContentLength; !h.Chunked && max(h.ContentLength, 0) != length || h.Chunked && length != -1 {
			t.Fatalf("%q: net/http reads a length of %d, we %d", input, length, h.ContentLength)
		}
		if string(h.Method.In(input)) != req.Method {
			t.Fatalf("%q: net/http reads method %s", input, req.Method)
		}
	})
}

// FuzzChunkedAgainstNetHTTP: a body that we decode, net/http decodes to the same content and trailer fields, and takes
// the same number of bytes for it. It is laxer (bare LF, extensions of any bytes), so the other way round says nothing.
func FuzzChunkedAgainstNetHTTP(f *testing.F) {
	for _, input := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=\"b\"\r\nhello\r\n000;x\r\nX: y\r\nZ:\r\n\r\nGET", "1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
	} {
		f.Add([]byte(input))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var c Chunked
		ours := decode(&c, input, nil)
		if !ours.Done {
			return
		}
		wire := slices.Concat([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), input)
		in := bufio.NewReader(bytes.NewReader(wire))
		req, err := http.ReadRequest(in)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(req.Body)
		if err != nil || string(content) != ours.Data {
			t.Fatalf("%q: we read %q, net/http %q, %v", input, ours.Data, content, err)
		}
		rest, err := io.ReadAll(in)
		if err != nil || len(rest) != len(input)-ours.N {
			t.Fatalf("%q: we leave %d bytes, net/http %d", input, len(input)-ours.N, len(rest))
		}
		trailers := 0
		for _, values := range req.Trailer {
			trailers += len(values)
		}
		if _, fields := c.Trailers(); len(fields) != trailers {
			t.Fatalf("%q: we read %d trailer fields, net/http %d", input, len(fields), trailers)
		}
	})
}
