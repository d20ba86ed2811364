package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// disagreements are the cases of the tables on which net/http.ReadRequest decides otherwise, by the reason why we stay
// with our decision. Some of them net/http's Server checks later (the Host field), or its Transport (the length).
var disagreements = map[string][]string{
	"net/http takes LF for CRLF, which RFC 9112, 2.2 allows; proxies differ in it": {
		"request line ends in LF", "field line ends in LF", "head ends in LF", "LF in value",
	},
	"net/http does not tolerate an empty line before the request, which RFC 9112, 2.2 asks for": {"one empty line"},
	"net/http has no longest method": {"method of 33 bytes"},
	"net/http takes what url.Parse takes, RFC 9112, 3.2 has a grammar": {
		"UTF-8 in target", "backslash in path", "brace in path", "angle bracket in query", "quotation mark in query", "fragment", "fragment in query", "bad percent-encoding in query", "other scheme", "one slash after scheme",
		"no slash after scheme", "scheme alone", "absolute-form, empty host", "absolute-form, nothing", "absolute-form, port alone",
		"absolute-form, userinfo", "absolute-form, empty userinfo",
	},
	"url.Parse refuses a percent-encoding of ASCII in a host, RFC 3986, 3.2.2 has it": {"absolute-form, query alone"},
	"net/http does not bind the form of the target to the method": {
		"authority-form with GET", "asterisk-form with GET", "CONNECT with a path", "CONNECT without port", "CONNECT with an empty port",
		"CONNECT without host", "CONNECT with absolute-form", "CONNECT with userinfo", "CONNECT with query", "CONNECT with asterisk",
	},
	"ReadRequest leaves the version to its caller": {"HTTP/2.0", "HTTP/2 preface", "HTTP/0.9 by name", "HTTP/9.9"},
	"net/textproto unfolds lines":                  {"line of whitespace", "obs-fold", "obs-fold with TAB"},
	"net/textproto keeps names with a space, so that Server can refuse them": {
		"space before colon", "space before colon of Host", "space before colon of Content-Length",
		"space before colon of Transfer-Encoding", "space in name",
	},
	"net/http has other limits": {"too many fields", "too many bytes of fields", "long request line"},
	"ReadRequest leaves the Host field to its caller": {
		"absolute-form without Host", "absolute-form with bad Host", "no Host", "no Host in HTTP/1.2", "no Host with asterisk",
		"no Host with CONNECT", "empty Host", "blank Host", "list of Hosts", "tight list of Hosts", "Host with userinfo",
		"Host with path", "Host with query", "Host with scheme", "Host with space", "Host with TAB", "Host with obs-text",
		"Host with bad percent-encoding", "Host with port alone", "Host with two ports", "Host with port of letters",
		"Host with negative port", "Host with signed port", "Host with port 65536", "Host with huge port", "IPv6 without brackets",
		"IPv6 without end", "IPv6 and more", "IPv6 with zone", "empty IPv6", "name in brackets", "IPvFuture",
	},
	"RFC 9110, 8.6 lets a recipient mend equal lengths; we refuse":        {"two equal lengths"},
	"a length has at most 19 digits here":                                 {"length of 20 digits"},
	"RFC 9112, 6.1 lets a recipient ignore the length; net/http does":     {"length and chunked", "chunked and length"},
	"RFC 9112, 6.1 calls it faulty framing; net/http drops it and closes": {"chunked in HTTP/1.0"},
}

// TestDifferential compares the verdicts on every case of the tables with net/http's, and the meaning where both
// accept.
func TestDifferential(t *testing.T) {
	known, used := map[string]bool{}, map[string]bool{}
	for _, names := range disagreements {
		for _, name := range names {
			known[name] = true
		}
	}
	check := func(name, input string, ours bool) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(input)))
		if err == nil && ours {
			compareRequests(t, name, input, req)
		}
		if (err == nil) == ours {
			return
		}
		used[name] = true
		if !known[name] {
			t.Errorf("%q: %q: accepted by us %v, net/http says %v", name, input, ours, err)
		}
	}
	for _, c := range refused {
		check(c.name, c.input, false)
	}
	for _, c := range accepted {
		check(c.name, c.input, true)
	}
	for name := range known {
		if !used[name] {
			t.Logf("%q: this net/http agrees with us", name)
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

// FuzzParserAgainstNetHTTP: what we accept, net/http accepts and frames alike.
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
		if n == 0 || err != nil || input[0] == '\r' {
			return
		}
		h := &p.Head
		if h.Form != OriginForm && bytes.IndexByte(h.Host.In(input), '%') >= 0 {
			return // see disagreements
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(input[:n])))
		if err != nil {
			t.Fatalf("%q: %v", input, err)
		}
		if length := req.ContentLength; !h.Chunked && max(h.ContentLength, 0) != length || h.Chunked && length != -1 {
			t.Fatalf("%q: net/http reads a length of %d, we %d", input, length, h.ContentLength)
		}
		if string(h.Method.In(input)) != req.Method {
			t.Fatalf("%q: net/http reads method %s", input, req.Method)
		}
	})
}
