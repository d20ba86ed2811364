package child

import (
	"fmt"
	"strings"

	"github.com/tined/tined/child/http1/http1test"
)

// get makes a GET of target, postRoot a POST of the root with fields and whatever stands behind the head.
func get(target string, fields ...string) string { return request("GET", target, fields...) }

func request(method, target string, fields ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: a\r\n" + lines(fields)
}

func postRoot(behind string, fields ...string) string {
	return request("POST", "/", fields...) + behind
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String() + "\r\n"
}

// chunkedRoot makes a POST whose body is in the chunked coding, as given.
func chunkedRoot(body string) string { return postRoot(body, "Transfer-Encoding: chunked") }

// coded makes a POST with field lines about the coding, and a body that is well-formed if it is taken for chunked.
func coded(fields ...string) string { return postRoot("0\r\n\r\n", fields...) }

// conformanceCases are all cases: those written one by one, then the families.
func conformanceCases() []conformance {
	var cases []conformance
	for _, list := range [][]conformance{
		requestLines(), targets(), hosts(), fieldLines(), lengths(), codings(), chunks(), connections(), pipelines(), expectations(),
		answersOf(), sizes(),
	} {
		cases = append(cases, list...)
	}
	return cases
}

// everywhere are the methods of every path of the cases' child.
const everywhere = "GET, HEAD, PATCH, POST, PUT, OPTIONS"

func requestLines() []conformance {
	cases := []conformance{
		{"RFC 9112 2.1: least request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 open", has(0, "GET / host=a query= body=")},
		{"RFC 9112 2.2: one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 open", nil},
		{"RFC 9112 2.2: one empty line between", get("/") + "\r\n" + get("/"), "200 200 open", nil},
		{"RFC 9112 2.2: an empty line behind a body", postRoot("x", "Content-Length: 1") + "\r\n" + get("/"), "200 200 open", nil},
		{"RFC 9112 2.2: two empty lines before", "\r\n\r\n" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: an empty line of LF", "\n" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: an empty line of CR", "\r" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: an empty line of CR CR LF", "\r\r\n" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: an empty line of LF CR", "\n\r" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: blank line of a space", " \r\n" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: blank line of a space behind a request", get("/") + " \r\n" + get("/"), "200 400 close", nil},
		{"RFC 9112 3: space before the method", " " + get("/"), "400 close", nil},
		{"RFC 9112 3: TAB before the method", "\t" + get("/"), "400 close", nil},
		{"RFC 9112 3: byte order mark", "\xef\xbb\xbf" + get("/"), "400 close", nil},
		{"RFC 9112 3: NUL before the method", "\x00" + get("/"), "400 close", nil},
		{"RFC 9112 2.2: request line ends in LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: all lines end in LF", "GET / HTTP/1.1\nHost: a\n\n", "400 close", nil},
		{"RFC 9112 2.2: all lines end in CR", "GET / HTTP/1.1\rHost: a\r\r", "400 close", nil},
		{"RFC 9112 2.2: request line ends in CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: request line ends in CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: request line ends in LF CR", "GET / HTTP/1.1\n\rHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: head ends in LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400 close", nil},
		{"RFC 9112 2.2: head ends in CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", "400 close", nil},
		{"RFC 9112 3: folded request line", "GET /\r\n HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: two spaces after the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: TAB after the method", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: TAB after the target", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: VT after the method", "GET\v/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: FF after the target", "GET /\fHTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: TAB after the version", "GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: a word after the version", "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: no method", "/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: an empty method", " / HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: method alone", "GET\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: method and space alone", "GET \r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: garbage", "\x80\x81\x82\x83\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: TLS ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 close", nil},
		{"RFC 9112 3: SSH", "SSH-2.0-OpenSSH_9.2\r\n", "400 close", nil},
		{"RFC 9112 3: a status line", "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9113 3.4: HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400|505 close", nil},
		{"RFC 9112 3: header without request line", "Host: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3: an empty request", "\r\n", " eof", nil},
		{"RFC 9112 8: part of a request line", "GET /smuggled HT", " eof", nil},
		{"RFC 9112 8: part of a header", "GET /smuggled HTTP/1.1\r\nHost: a\r\n", " eof", nil},
		{"RFC 9112 8: all but the last byte of a head", strings.TrimSuffix(smuggled, "\n"), " eof", nil},
		{"RFC 9112 8: part of a second head", get("/") + "GET /smuggled HTTP/1.1\r\nHost: a\r\n", "200 eof", nil},
	}
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		cases = append(cases, conformance{"RFC 9110 9: " + m, request(m, "/"), "200 open", has(0, m+" / ")})
		cases = append(cases, conformance{"RFC 9110 9: " + m + " with a body", request(m, "/", "Content-Length: 3") + "abc", "200 open", has(0, "body=abc")})
		cases = append(cases, conformance{"RFC 9110 9: " + m + " with a chunked body", request(m, "/", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", "200 open", has(0, "body=abc")})
	}
	cases = append(cases,
		conformance{"RFC 9110 9.3.2: HEAD", request("HEAD", "/"), "HEAD:200 open", nil},
		conformance{"RFC 9110 9.3.2: HEAD with a body", request("HEAD", "/", "Content-Length: 3") + "abc", "HEAD:200 open", nil},
		conformance{"RFC 9110 9.3.2: HEAD with a chunked body", request("HEAD", "/", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", "HEAD:200 open", nil},
		conformance{"RFC 9110 9.1: a method that only another route has", request("LINK", "/"), "405 open", field(0, "Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")},
		conformance{"RFC 9110 9.1: a method that a route brings", request("LINK", "/linked"), "200 open", has(0, "LINK /linked ")},
		conformance{"RFC 9110 9.3.2: refused HEAD", request("HEAD", "/", "Content-Length: x"), "HEAD:400 close", nil},
		conformance{"RFC 9110 9.3.2: refused HEAD, bad Host", "HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n", "HEAD:400 close", nil},
		conformance{"RFC 9110 9.3.2: refused HEAD, bad target", "HEAD /\\ HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD:400 close", nil},
		conformance{"RFC 9110 9.3.2: refused HEAD, bad version", "HEAD / HTTP/3.0\r\nHost: a\r\n\r\n", "HEAD:505 close", nil},
		conformance{"RFC 9110 9.3.2: refused HEAD, bad chunk", request("HEAD", "/", "Transfer-Encoding: chunked") + "x\r\n", "HEAD:400 close", nil},
		conformance{"RFC 9110 9.3.2: refused HEAD, too large", request("HEAD", "/", "Content-Length: 99999999"), "HEAD:413 close", nil},
		conformance{"RFC 9110 9.3.2: HEAD and unknown expectation", request("HEAD", "/", "Expect: x"), "HEAD:417 open", nil},
		conformance{"RFC 9110 9.3.6: CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT:405|501 open", nil},
		conformance{"RFC 9110 9.3.6: CONNECT to an IPv6 address", "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", "CONNECT:405|501 open", nil},
		conformance{"RFC 9112 3.2.3: CONNECT in origin-form", request("CONNECT", "/"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT in absolute-form", request("CONNECT", "http://a:80/"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT in asterisk-form", request("CONNECT", "*"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT without port", request("CONNECT", "a"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT with an empty port", request("CONNECT", "a:"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT with userinfo", request("CONNECT", "u:p@a:80"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT with a path", request("CONNECT", "a:80/x"), "CONNECT:400 close", nil},
		conformance{"RFC 9112 3.2.3: CONNECT to port 65536", request("CONNECT", "a:65536"), "CONNECT:400 close", nil},
		conformance{"RFC 9110 9.3.8: TRACE", request("TRACE", "/", "Cookie: secret"), "405|501 open", func(a []*http1test.Response) error {
			if strings.Contains(string(a[0].Body), "secret") {
				return fmt.Errorf("echoes: %q", a[0].Body)
			}
			return nil
		}},
		conformance{"RFC 9110 9.3.8: TRACE with a body", request("TRACE", "/", "Content-Length: 3") + "abc", "400|405|501 open", nil},
		conformance{"RFC 9110 9.3.7: OPTIONS of the server", request("OPTIONS", "*"), "200 open", func(a []*http1test.Response) error {
			if !a[0].Fields.Has("Allow") || a[0].Get("Content-Length") != "0" {
				return fmt.Errorf("%v", a[0].Fields)
			}
			return nil
		}},
		conformance{"RFC 9110 9.3.7: OPTIONS of the server with a body", request("OPTIONS", "*", "Content-Length: 3") + "abc", "200 open", nil},
		conformance{"RFC 9112 3.2.4: OPTIONS of the server, absolute-form", request("OPTIONS", "http://a"), "200 open", nil},
		conformance{"RFC 9112 3.2.4: asterisk and more", request("OPTIONS", "*/"), "400 close", nil},
		conformance{"RFC 9112 3.2.4: asterisk with a query", request("OPTIONS", "*?a"), "400 close", nil},
		conformance{"RFC 9112 3.2.4: two asterisks", request("OPTIONS", "**"), "400 close", nil},
		conformance{"RFC 9110 15.5.6: method not allowed", request("DELETE", "/only"), "405 open", field(0, "Allow", everywhere)},
		conformance{"RFC 9110 15.5.6: method not allowed, with a body", request("DELETE", "/only", "Content-Length: 3") + "abc", "405 open", field(0, "Allow", everywhere)},
		conformance{"RFC 9110 9.3.7: OPTIONS of a path", request("OPTIONS", "/only"), "204 open", field(0, "Allow", everywhere)},
	)
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"} {
		cases = append(cases, conformance{"RFC 9112 3.2.4: asterisk with " + m, request(m, "*"), m + ":400 close", nil})
	}
	for _, m := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
		cases = append(cases, conformance{"RFC 9112 3.2.3: authority-form with " + m, request(m, "a:80"), "400 close", nil})
	}
	// RFC 9110, 9.1: methods are tokens, and case-sensitive; 15.6.2: an unknown one is 501.
	for _, m := range []string{"get", "Get", "gET", "FOO", "PROPFIND", "MKCOL", "X", "!#$%&'*+-.^_`|~", "G", "GETX", "XGET", "GET1", "0", "HTTP", "PRI", "M-SEARCH"} {
		cases = append(cases, conformance{"RFC 9110 9.1: unknown method " + m, request(m, "/"), "501 open", nil})
	}
	for _, m := range []string{"G ET", "GE:T", "(GET)", "GET\x00", "GET/", "GET,POST", "GET;a", "\"GET\"", "GE=T", "G@T", "[GET]", "{GET}", "GET\\", "G\xc3\x8bT", "G\x80T", "GET\x7f", "GET<", "G?T"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 9.1: malformed method %q", m), request(m, "/"), "400 close", nil})
	}
	cases = append(cases,
		conformance{"RFC 9110 9.1: unknown method with a body", request("FOO", "/", "Content-Length: 3") + "abc", "501 open", nil},
		conformance{"RFC 9110 9.1: unknown method with a chunked body", request("FOO", "/", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", "501 open", nil},
		conformance{"RFC 9112 3: method of 32 bytes", request(strings.Repeat("M", 32), "/"), "501 open", nil},
		conformance{"RFC 9112 3: method of 33 bytes", request(strings.Repeat("M", 33), "/"), "400|414|501 close", nil},
		conformance{"RFC 9112 3: method of 100 kB", request(strings.Repeat("M", 100_000), "/"), "400|414|501 close", nil},
	)
	for _, v := range []string{"", "1.1", "HTTP", "HTTP/", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTP/1.10", "HTTP/01.1", "HTTP/1.01", "HTTP/11.1", "http/1.1",
		"HTTp/1.1", "hTTP/1.1", "HTTPS/1.1", "HTPT/1.1", "XHTTP/1.1", "HTTP/1,1", "HTTP/1 .1", "HTTP/ 1.1", "HTTP /1.1", "HTTP//1.1", "HTTP\\1.1", "HTTP/1.1.1", "HTTP/1.a",
		"HTTP/a.1", "HTTP/-1.1", "HTTP/1.-1", "HTTP/+1.1", "HTTP/1.+1", "HTTP/1.1\x00", "HTTP/0x1.1", "HTTP/1.1/", "ICAP/1.0", "RTSP/1.0", "HTTP/\xd9\xa1.1", "HTTP/1..1", "HTTP-1.1", "HTTP/1_1", "HTTP/1.1HTTP/1.1", "\"HTTP/1.1\""} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 2.3: version %q", v), "GET / " + v + "\r\nHost: a\r\n\r\n", "400 close", nil})
	}
	for _, v := range []string{"0.0", "0.9", "0.1", "2.0", "2.1", "3.0", "4.2", "9.9"} {
		cases = append(cases, conformance{"RFC 9110 15.6.6: HTTP/" + v, "GET / HTTP/" + v + "\r\nHost: a\r\n\r\n", "505 close", nil})
	}
	for _, v := range []string{"1.2", "1.5", "1.9"} {
		cases = append(cases, conformance{"RFC 9110 2.5: HTTP/" + v, "GET / HTTP/" + v + "\r\nHost: a\r\n\r\n", "200 open", nil})
	}
	cases = append(cases,
		conformance{"RFC 9112 3: HTTP/0.9", "GET /\r\n", "400 close", nil},
		conformance{"RFC 9112 3: HTTP/0.9 with fields", "GET /\r\nHost: a\r\n\r\n", "400 close", nil},
		conformance{"RFC 9112 3: HTTP/0.9 behind a request", get("/") + "GET /\r\n", "200 400 close", nil},
		conformance{"RFC 9110 2.5: HTTP/1.9 with a chunked body", "POST / HTTP/1.9\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "200 open", has(0, "body=x")},
		conformance{"RFC 9110 2.5: HTTP/1.9 without Host", "GET / HTTP/1.9\r\n\r\n", "400 close", nil},
	)
	return cases
}

func targets() []conformance {
	cases := []conformance{
		{"RFC 9112 3.2.1: query", get("/a?b=c&d=%20e"), "200 open", has(0, "GET /a host=a query=b=c&d=%20e")},
		{"RFC 9112 3.2.1: empty query", get("/a?"), "200 open", has(0, "GET /a host=a query= ")},
		{"RFC 9112 3.2.1: question marks in the query", get("/a?b?c??"), "200 open", has(0, "query=b?c?? ")},
		{"RFC 9112 3.2.1: slashes in the query", get("/a?/../b//c"), "200 open", has(0, "query=/../b//c ")},
		{"RFC 3986 3.3: every byte of a path", get("/azAZ09-._~!$&'()*+,;=:@"), "200 open", has(0, "/azAZ09-._~!$&'()*+,;=:@")},
		{"RFC 3986 3.4: every byte of a query", get("/?azAZ09-._~!$&'()*+,;=:@/?"), "200 open", has(0, "query=azAZ09-._~!$&'()*+,;=:@/?")},
		{"RFC 3986 2.1: percent-encoding", get("/%41%2F%e4%00%7f?%00%0d%0a"), "200 open", has(0, "GET /%41%2F%e4%00%7f host=a query=%00%0d%0a")},
		{"RFC 3986 2.1: encoded CR LF", get("/%0d%0aX:%20y"), "200 open", func(a []*http1test.Response) error {
			if a[0].Fields.Has("X") {
				return fmt.Errorf("split")
			}
			return nil
		}},
		{"WHATWG URL: what browsers leave in a path", get("/[a]|b"), "200 open", nil},
		{"WHATWG URL: what browsers leave in a query", get("/?[a]|{b}^`\\"), "200 open", nil},
		{"RFC 9112 3.2.2: absolute-form", get("http://b/c?d"), "200 open", has(0, "GET /c host=b query=d ")},
		{"RFC 9112 3.2.2: authority wins over Host", "GET http://b:81/ HTTP/1.1\r\nHost: c\r\n\r\n", "200 open", has(0, "GET / host=b:81 ")},
		{"RFC 9112 3.2.2: authority wins, Host after other fields", "GET http://b/ HTTP/1.1\r\nX: y\r\nHost: c\r\n\r\n", "200 open", has(0, "host=b ")},
		{"RFC 3986 3.1: case of the scheme", get("HtTp://b/"), "200 open", has(0, "host=b ")},
		{"RFC 9110 4.2.3: absolute-form with an empty path", get("http://b"), "200 open", has(0, "GET / host=b ")},
		{"RFC 9110 4.2.3: absolute-form with a query alone", get("http://b?c"), "200 open", has(0, "GET / host=b query=c ")},
		{"RFC 3986 3.2.3: absolute-form with an empty port", get("http://b:/"), "200 open", nil},
		{"RFC 3986 3.2.2: absolute-form with an IPv6 address", get("http://[::1]:80/x"), "200 open", has(0, "GET /x host=[::1]:80 ")},
		{"RFC 9112 3.2.2: absolute-form with POST", request("POST", "http://b/", "Content-Length: 1") + "x", "200 open", has(0, "POST / host=b query= body=x")},
		{"RFC 9112 3.2.2: absolute-form with HEAD", request("HEAD", "http://b/"), "HEAD:200 open", nil},
		{"RFC 9112 3.2.2: absolute-form in HTTP/1.0", "GET http://b/x HTTP/1.0\r\n\r\n", "200 close", has(0, "GET /x host=b ")},
		{"RFC 9112 3.2: absolute-form without Host", "GET http://a/ HTTP/1.1\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: absolute-form with a bad Host", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: absolute-form with two Hosts", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9110 7.4: https on a connection without TLS", get("https://a/"), "421 open", nil},
		{"RFC 9110 7.4: HTTPS on a connection without TLS", get("HTTPS://a/"), "421 open", nil},
		{"RFC 3986 5.2.4: empty segment", get("//x"), "307 open", field(0, "Location", "/x")},
		{"RFC 3986 5.2.4: empty segment leads nowhere else", get("//example.com/..//x?y"), "307 open", field(0, "Location", "/x?y")},
		{"RFC 3986 5.2.4: dot segment", get("/./x"), "307 open", field(0, "Location", "/x")},
		{"RFC 3986 5.2.4: dot segments above the root", get("/../../x"), "307 open", field(0, "Location", "/x")},
		{"RFC 3986 5.2.4: encoded dot segments", get("/a/%2e%2E/x"), "307 open", field(0, "Location", "/x")},
		{"RFC 3986 5.2.4: three slashes", get("///"), "307 open", field(0, "Location", "/")},
		{"RFC 3986 5.2.4: redirect with a body", request("POST", "//x", "Content-Length: 3") + "abc", "307 open", nil},
		{"RFC 9110 7.1: a long target that is allowed", get("/" + strings.Repeat("a", 8000)), "200 open", nil},
		{"RFC 9112 3: a request line of 8000 bytes", get("/?" + strings.Repeat("a", 8000-len("GET /? HTTP/1.1"))), "200 open", nil},
	}
	for _, target := range []string{
		"", "x", "index.html", "?a", "#", "#a", "a.example", "a.example/x", "./x", "../x", "%2Fx", "\\", "\\x", ";", "a:b", "@a:80", ":80", "/a b", "/a\tb", "/a#b", "/#", "/a?b#c",
		"/%", "/%2", "/%zz", "/%4g", "/%g4", "/%-1", "/% 41", "/%%41", "/%u0041", "/%x41", "/a?%", "/a?%2", "/a?%zz", "/a\\b", "/..\\x", "/a\"b", "/a<b", "/a>b", "/a^b", "/a`b", "/a{b", "/a}b",
		"/?a\"b", "/?a<b", "/?a>b", "/\xc3\xa4", "/?\xc3\xa4", "/\x80", "/\xff", "/\xc0\xaf", "/\xc0\xae\xc0\xae/x", "/\x00", "/?\x00", "/\x7f", "/\x01", "/a\x0bb", "/a\x0cb", "/a\x1bb", "/?\x1f", "/\u2028", "/\xa0",
		"http:", "http:/", "http://", "http:///", "http:///x", "http:a/x", "http:/a/x", "http//a/x", "://a/x", "//", "http ://a/", "http://u@a/", "http://u:p@a/", "http://@a/", "http://a@/",
		"http://:80/", "http://a:b/", "http://a:80:80/", "http://a:-1/", "http://a:65536/", "http://a|b/", "http://a\\b/", "http://a\\@b/", "http://a b/", "http://a<b>/", "http://a\"/", "http://a/%zz", "http://a/#x", "http://a#x",
		"http://[::1/", "http://::1/", "http://[::1]x/", "http://[]/", "http://[v1.a]/", "http://[1.2.3.4]/", "http://[::1%25lo]/", "http://a,b/", "http://%zz/", "http://\xc3\xa4/",
		"ftp://a/", "file:///etc/passwd", "javascript:alert(1)", "ws://a/", "httpx://a/", "h2c://a/", "urn:x", "data:,x", "http+unix://a/", "*", "/*\x00", "**",
	} {
		if target == "//" {
			continue // an empty segment, above
		}
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 3.2: target %q", target), get(target), "400 close", nil})
	}
	return cases
}

func hosts() []conformance {
	cases := []conformance{
		{"RFC 9112 3.2: no Host", "GET / HTTP/1.1\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: no Host, other fields", "GET / HTTP/1.1\r\nX: y\r\nAccept: */*\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: no Host, with a body", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "400 close", nil},
		{"RFC 9112 3.2: two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: two Hosts in different case", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhOST: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: an empty and another Host", "GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: bad Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "400 close", nil},
		{"RFC 9112 3.2: no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "200 close", has(0, "host= ")},
		{"RFC 9112 3.2: Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: b\r\n\r\n", "200 close", has(0, "host=b ")},
		{"RFC 9112 5.1: space before the colon of Host", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 close", nil},
		{"RFC 9112 5.2: folded Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n", "400 close", nil},
		{"RFC 9112 5.2: folded second Host", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "400 close", nil},
		{"RFC 9110 5.1: Host in another case", "GET / HTTP/1.1\r\nhOsT: a\r\n\r\n", "200 open", has(0, "host=a ")},
		{"RFC 9112 5.1: Host without a space", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", "200 open", has(0, "host=a ")},
		{"RFC 9112 5.1: Host between whitespace", "GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n", "200 open", has(0, "host=a ")},
		{"RFC 9110 7.2: Host as the last field", "GET / HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n", "200 open", has(0, "host=a ")},
		{"RFC 9110 7.2: X-Forwarded-Host is another field", "GET / HTTP/1.1\r\nX-Forwarded-Host: b\r\nHost: a\r\n\r\n", "200 open", has(0, "host=a ")},
	}
	for _, host := range []string{"a", "a.example", "A.EXAMPLE.", "a:80", "a:", "a:0", "a:65535", "a:00080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:80", "[2001:db8::1]", "[::ffff:1.2.3.4]", "[1:2:3:4:5:6:7:8]", "[FE80::A]",
		"xn--bcher-kva.example", "a_b", "a-b", "1", "a~b", "a!$&'()*+;=b", "a%20b", "localhost"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 7.2: Host %q", host), "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", "200 open", has(0, "host="+host+" ")})
	}
	for _, host := range []string{"", " ", "a b", "a, b", "a,b", "a\tb", "a/b", "a/", "/a", "http://a", "http://a/", "//a", "a?b", "a#b", "u@a", "u:p@a", "@a", "a@", "a\\b", "a:b", "a:80b", "a:80:80", "a:-1", "a:+80", "a: 80", "a :80", "a:8 0", "a:65536", "a:99999999999999999999",
		":80", ":", "[::1", "::1", "[]", "[::1]a", "[::1]]", "[::1] ", "[[::1]]", "[a.b]", "[1.2.3.4]", "[v1.a]", "[fe80::1%25lo]", "[fe80::1%lo]", "[1::2::3]", "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[12345::]", "[::g]", "[::1]80", "[::1]:", "[::1.2.3.256]",
		"a\x00", "a\x00.b", "a\x01", "a\x7f", "\xc3\xa4.example", "a\x80", "a\"b", "\"a\"", "<a>", "a|b", "a^b", "a`b", "{a}", "a%", "a%2", "a%zz", "a;b=c, d", "a\x0b", "\x0ca", "a\xa0", "*,a", "[a]b", "a]", "]a["} {
		want := "400 close"
		if host == "[::1] " || host == "[::1]:" {
			want = "200 open"
		}
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 3.2: Host %q", host), "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", want, nil})
	}
	return cases
}

func fieldLines() []conformance {
	cases := []conformance{
		{"RFC 9112 5: no space behind the colon", get("/", "X:y"), "200 open", has(0, " X=y")},
		{"RFC 9112 5: whitespace around the value", get("/", "X: \t y \t"), "200 open", has(0, " X=y")},
		{"RFC 9110 5.5: an empty value", get("/", "X:"), "200 open", has(0, " X=")},
		{"RFC 9110 5.5: a value of whitespace", get("/", "X: \t "), "200 open", has(0, " X=")},
		{"RFC 9110 5.5: whitespace inside", get("/", "X: a  b\tc"), "200 open", has(0, " X=a  b\tc")},
		{"RFC 9110 5.5: obs-text", get("/", "X: \x80\xff\xc3\xa4"), "200 open", has(0, " X=\x80\xff\xc3\xa4")},
		{"RFC 9110 5.5: colons in the value", get("/", "X: :a:b:"), "200 open", has(0, " X=:a:b:")},
		{"RFC 9110 5.5: every visible byte", get("/", "X: !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~"), "200 open", nil},
		{"RFC 9110 5.1: every kind of token byte in the name", get("/", "!#$%&'*+-.^_`|~09AZaz: y"), "200 open", nil},
		{"RFC 9110 5.1: name of a digit", get("/", "0: y"), "200 open", nil},
		{"RFC 9110 5.3: a field twice", get("/", "X: a", "X: b"), "200 open", has(0, " X=a X=b")},
		{"RFC 9110 5.1: a long name", get("/", strings.Repeat("n", 1000)+": y"), "200 open", nil},
		{"RFC 9110 5.4: a value of 8 kB", get("/", "X: "+strings.Repeat("v", 8000)), "200 open", nil},
		{"RFC 9110 10.1.4: TE", get("/", "TE: trailers, deflate;q=0.5", "Connection: TE"), "200 open", nil},
		{"RFC 9110 5.1: a field with an underscore", get("/", "Content_Length: 5", "Transfer_Encoding: chunked"), "200 open", nil},
		{"RFC 9112 2.2: space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: TAB before the first field", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: blank line before the first field", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 2.2: folded line before the first field", "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 5.2: obs-fold", get("/", "X: a\r\n b"), "400 close", nil},
		{"RFC 9112 5.2: obs-fold with TAB", get("/", "X: a\r\n\tb"), "400 close", nil},
		{"RFC 9112 5.2: obs-fold of an empty value", get("/", "X:\r\n b"), "400 close", nil},
		{"RFC 9112 5.2: obs-fold of whitespace", get("/", "X: a\r\n "), "400 close", nil},
		{"RFC 9112 5.2: obs-fold hides a length", postRoot("", "X: a\r\n Content-Length: 5"), "400 close", nil},
		{"RFC 9112 5.2: obs-fold hides a coding", postRoot("0\r\n\r\n", "X: a\r\n Transfer-Encoding: chunked"), "400 close", nil},
		{"RFC 9112 5.2: obs-fold behind LF", get("/", "X: a\n b"), "400 close", nil},
		{"RFC 9112 2.2: a line of whitespace", get("/", " "), "400 close", nil},
		{"RFC 9112 2.2: a line of TAB", get("/", "\t"), "400 close", nil},
		{"RFC 9112 2.2: field line ends in LF", get("/", "X: y\nZ: z"), "400 close", nil},
		{"RFC 9112 2.2: field line ends in CR", get("/", "X: y\rZ: z"), "400 close", nil},
		{"RFC 9112 2.2: field line ends in CR CR LF", get("/", "X: y\r"), "400 close", nil},
		{"RFC 9112 2.2: field line ends in LF CR LF", get("/", "X: y\n"), "400 close", nil},
		{"RFC 9112 2.2: CR in the name", get("/", "X\rY: z"), "400 close", nil},
		{"RFC 9112 2.2: LF in the name", get("/", "X\nY: z"), "400 close", nil},
		{"RFC 9112 2.2: CR before the name", get("/", "\rX: y"), "400 close", nil},
		{"RFC 9112 2.2: CR before the colon", get("/", "X\r: y"), "400 close", nil},
		{"RFC 9112 2.2: CR behind the colon", get("/", "X:\ry"), "400 close", nil},
		{"RFC 9112 2.2: LF behind the colon", get("/", "X:\ny"), "400 close", nil},
		{"RFC 9112 2.2: CR as the value", get("/", "X: \r"), "400 close", nil},
		{"RFC 9112 2.2: head without CR at its end", "GET / HTTP/1.1\r\nHost: a\n\n", "400 close", nil},
		{"RFC 9112 2.2: LF LF hides a request", "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\n" + smuggled, "400 close", nil},
		{"RFC 9112 2.2: CR CR hides a request", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r" + smuggled, "400 close", nil},
		{"RFC 9112 5: request line among the fields", get("/", "GET /smuggled HTTP/1.1"), "400 close", nil},
		{"RFC 9112 5: no colon", get("/", "X"), "400 close", nil},
		{"RFC 9112 5: no colon, with a value", get("/", "X y"), "400 close", nil},
		{"RFC 9112 5: an equals sign", get("/", "X=y"), "400 close", nil},
		{"RFC 9112 5: empty name", get("/", ": y"), "400 close", nil},
		{"RFC 9112 5: a colon alone", get("/", ":"), "400 close", nil},
		{"RFC 9112 5: two colons first", get("/", "::y"), "400 close", nil},
		{"RFC 9112 5: empty name of the first field", "GET / HTTP/1.1\r\n: y\r\nHost: a\r\n\r\n", "400 close", nil},
		{"RFC 9112 5: status line as field", get("/", "HTTP/1.1 200 OK"), "400 close", nil},
		{"RFC 9113 8.3: pseudo-header", get("/", ":authority: b"), "400 close", nil},
	}
	for _, name := range []string{"X ", "X\t", "X  \t", "Content-Length ", "Transfer-Encoding\t", "Connection "} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 5.1: whitespace behind the name %q", name), get("/", name+": 0"), "400 close", nil})
	}
	for _, name := range []string{"X Y", "X\x00", "\x00X", "X\x01", "X\x7f", "X\x80", "X\xc3\xa4", "X\xa0", "(X)", "X,Y", "X/Y", "X;Y", "X<", "X>", "X=", "X?", "X@Y", "X[0]", "X\\Y", "X{}", "\"X\"", "X\x0b", "X\x0c", "X\x1f"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 5.1: name %q", name), get("/", name+": y"), "400 close", nil})
	}
	for _, value := range []string{"\x00", "a\x00", "\x00a", "a\x00b", "a\x01b", "a\x07", "a\x08b", "a\x0bb", "\x0ba", "a\x0c", "a\x0eb", "a\x1bb", "a\x1f", "a\x7fb", "\x7f"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 5.5: value %q", value), get("/", "X: "+value), "400 close", nil})
	}
	for n := 9; n < 24; n++ { // wherever eight bytes are looked at together
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 5.5: NUL behind %d bytes of value", n), get("/", "X: "+strings.Repeat("a", n)+"\x00"), "400 close", nil})
	}
	return cases
}

func lengths() []conformance {
	cases := []conformance{
		{"RFC 9112 6.3: no length, no body", request("POST", "/"), "200 open", has(0, "body=")},
		{"RFC 9110 8.6: length 0", postRoot("", "Content-Length: 0"), "200 open", nil},
		{"RFC 9110 8.6: length", postRoot("hello", "Content-Length: 5"), "200 open", has(0, "body=hello")},
		{"RFC 9110 8.6: leading zeros", postRoot("hello", "Content-Length: 0005"), "200 open", has(0, "body=hello")},
		{"RFC 9110 8.6: leading zeros are not octal", postRoot("0123456789", "Content-Length: 010"), "200 open", has(0, "body=0123456789")},
		{"RFC 9110 8.6: whitespace around", postRoot("hello", "Content-Length: \t5 \t"), "200 open", has(0, "body=hello")},
		{"RFC 9110 5.1: case of the name", postRoot("hello", "cOnTeNt-LeNgTh: 5"), "200 open", has(0, "body=hello")},
		{"RFC 9112 6.3: a body that looks like a request", postRoot(smuggled, fmt.Sprint("Content-Length: ", len(smuggled))), "200 open", has(0, "body=GET /smuggled")},
		{"RFC 9112 6.3: a GET's body that looks like a request", request("GET", "/", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "200 open", nil},
		{"RFC 9112 6.3: a HEAD's body that looks like a request", request("HEAD", "/", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "HEAD:200 open", nil},
		{"RFC 9112 6.3: an OPTIONS' body that looks like a request", request("OPTIONS", "*", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "200 open", nil},
		{"RFC 9112 6.3: a body nobody reads that looks like a request", request("POST", "/ignore", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "200 open", has(0, "ignored")},
		{"RFC 9112 6.3: a body for a 404 that looks like a request", request("POST", "/status/404", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "404 open", nil},
		{"RFC 9112 6.3: a body for a 405 that looks like a request", request("DELETE", "/only", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "405 open", nil},
		{"RFC 9112 6.3: a body for a 501 that looks like a request", request("FOO", "/", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "501 open", nil},
		{"RFC 9112 6.3: a body for a redirect that looks like a request", request("POST", "//", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "307 open", nil},
		{"RFC 9112 6.3: a body for a loop handler that looks like a request", request("GET", "/fast", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "200 open", nil},
		{"RFC 9112 6.3: a body for a panic that looks like a request", request("GET", "/panic", fmt.Sprint("Content-Length: ", len(smuggled))) + smuggled, "500 open", nil},
		{"RFC 9112 8: body shorter than its length", postRoot("hell", "Content-Length: 5"), "400 eof", nil},
		{"RFC 9112 8: no body for its length", postRoot("", "Content-Length: 5"), "400 eof", nil},
		{"RFC 9112 8: body shorter, in the middle of a request that hides there", postRoot(smuggled, "Content-Length: 500"), "400 eof", nil},
		{"RFC 9112 6.3: body longer than its length", postRoot("hello", "Content-Length: 4") + "\r\n\r\n", "200 400 close", nil},
		{"RFC 9110 15.5.14: too large", postRoot("", "Content-Length: 262145"), "413 close", nil},
		{"RFC 9110 15.5.14: greatest length", postRoot("", "Content-Length: 9223372036854775807"), "413 close", nil},
		{"RFC 9110 15.5.14: too large for GET", request("GET", "/", "Content-Length: 262145"), "413 close", nil},
		{"RFC 9110 15.5.14: too large for a loop handler", request("GET", "/fast", "Content-Length: 262145"), "413 close", nil},
		{"RFC 9110 15.5.14: just large enough", postRoot(strings.Repeat("x", conformanceBody), fmt.Sprint("Content-Length: ", conformanceBody)), "200 open", nil},
	}
	for _, value := range []string{
		"", " ", "+5", "-5", "-0", "+0", "--5", "0x5", "0X5", "5h", "x", "x5", "5x", "5 x", "5.0", "5.", ".5", "5e0", "1e1", "0e0", "1_0", "1 0", "5 5", "5;", "5; x", "5, 5", "5,5", "5,6", "5, 6", "5,", ",5", ", 5", "5,,5", "5\x00", "\x005", "5\x0b", "\x0b5", "\x0c5", "5\x0c", "5\x7f", "\xa05", "5\xa0", "5\x85",
		"\"5\"", "'5'", "(5)", "5(x)", "=5", "0b101", "0o5", "five", "NaN", "inf", "null", "true", "%35", "\xd9\xa5", "\xef\xbc\x95", "5/5", "5-5", "5+0", "5*1", "0-5", "5:5", "5\r\n 0", "5\r", "5\rX: y", "5\n", "5\t5",
		"9223372036854775808", "18446744073709551615", "18446744073709551616", "18446744073709551621", "4294967301x", "99999999999999999999", "340282366920938463463374607431768211461", strings.Repeat("9", 300),
	} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 8.6: length %.30q", value), postRoot("hello", "Content-Length: "+value), "400|413 close", nil})
	}
	for i, fields := range [][]string{
		{"Content-Length: 5", "Content-Length: 5"}, {"Content-Length: 5", "Content-Length: 6"}, {"Content-Length: 0", "Content-Length: 5"}, {"Content-Length: 5", "content-length: 5"},
		{"Content-Length: 5", "X: y", "CONTENT-LENGTH: 0"}, {"Content-Length: 5", "Content-Length:"}, {"Content-Length:", "Content-Length: 5"}, {"Content-Length: 5", "Content-Length: 05"},
		{"Content-Length: x", "Content-Length: 5"}, {"Content-Length: 5", "Content-Length: x"}, {"Content-Length: 5, 5", "Content-Length: 5"},
		{"Content-Length : 5"}, {"Content-Length\t: 5"}, {"Content-Length: 5", "Content-Length : 0"}, {" Content-Length: 5"}, {"X: y", " Content-Length: 5"}, {"Content-Length"}, {"Content-Length 5"}, {"Content-Length\x00: 5"},
		{"\x00Content-Length: 5"}, {"Content Length: 5"}, {"Content-Length=5"}, {"Content-Length\r\n: 5"}, {"Content-Length:\r\n 5"}, {"Content-\r\n Length: 5"}, {"X: y\rContent-Length: 5"}, {"X: y\nContent-Length: 5"}, {"X:\nContent-Length: 5"},
		{"Content-Length:5\r\n\t"}, {"Content-Length\xa0: 5"}, {"\xefContent-Length: 5"},
	} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 6.3: lengths %d %q", i, fields), postRoot("hello", fields...), "400 close", nil})
	}
	// Names that only look like Content-Length are other fields (RFC 9110, 5.1): the body is then the next request.
	for _, name := range []string{"X-Content-Length", "Content-Length-X", "Content.Length", "ContentLength", "Content--Length", "Content_Length"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 5.1: %s is another field", name), postRoot("", name+": 500"), "200 open", nil})
	}
	return cases
}

func codings() []conformance {
	const chunkedLine = "Transfer-Encoding: chunked"
	body := "5\r\nhello\r\n0\r\n\r\n"
	cases := []conformance{
		{"RFC 9112 7.1: chunked", postRoot(body, chunkedLine), "200 open", has(0, "body=hello")},
		{"RFC 9112 7: case of the coding", postRoot(body, "Transfer-Encoding: ChUnKeD"), "200 open", has(0, "body=hello")},
		{"RFC 9110 5.1: case of the name of the coding", postRoot(body, "tRANSFER-eNCODING: chunked"), "200 open", has(0, "body=hello")},
		{"RFC 9112 7: whitespace around", postRoot(body, "Transfer-Encoding: \t chunked \t"), "200 open", has(0, "body=hello")},
		{"RFC 9112 7: no whitespace", postRoot(body, "Transfer-Encoding:chunked"), "200 open", has(0, "body=hello")},
		{"RFC 9112 7.1: chunked GET", request("GET", "/", chunkedLine) + body, "200 open", has(0, "body=hello")},
		{"RFC 9112 7.1: chunked and keep-alive", postRoot(body, chunkedLine, "Connection: keep-alive"), "200 open", nil},
		{"RFC 9112 6.1: chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\n" + chunkedLine + "\r\n\r\n" + body, "400 close", nil},
		{"RFC 9112 6.1: chunked in HTTP/1.0 with keep-alive", "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n" + chunkedLine + "\r\n\r\n" + body, "400 close", nil},
		{"RFC 9112 6.1: chunked and length in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n" + chunkedLine + "\r\n\r\n" + body, "400 close", nil},
		{"RFC 9112 6.1: identity in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "400 close", nil},
		{"RFC 9112 6.1: any coding in HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: x\r\n\r\n", "400 close", nil},
		{"CL.TE", postRoot("0\r\n\r\n"+smuggled, fmt.Sprint("Content-Length: ", len(smuggled)+5), chunkedLine), "400 close", nil},
		{"CL.TE, order changed", postRoot("0\r\n\r\n"+smuggled, chunkedLine, fmt.Sprint("Content-Length: ", len(smuggled)+5)), "400 close", nil},
		{"TE.CL", postRoot(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), "Content-Length: 4", chunkedLine), "400 close", nil},
		{"CL.0", postRoot("", "Content-Length: 0", chunkedLine), "400 close", nil},
		{"TE.0 with length 0 on GET", request("GET", "/", "Content-Length: 0", chunkedLine) + smuggled, "400 close", nil},
		{"RFC 9112 6.1: chunked, and a length that is malformed", postRoot(body, chunkedLine, "Content-Length: x"), "400 close", nil},
		{"RFC 9112 6.1: gzip, chunked and length", postRoot(body, "Transfer-Encoding: gzip, chunked", "Content-Length: 5"), "400 close", nil},
		{"RFC 9112 6.1: identity and length", postRoot("hello", "Transfer-Encoding: identity", "Content-Length: 5"), "400 close", nil},
		{"RFC 9112 6.1: an empty coding and length", postRoot("hello", "Transfer-Encoding:", "Content-Length: 5"), "400 close", nil},
		{"RFC 9112 6.1: an unknown coding and length", postRoot("hello", "Transfer-Encoding: x", "Content-Length: 5"), "400|501 close", nil},
		{"RFC 9112 6.1: gzip, chunked", coded("Transfer-Encoding: gzip, chunked"), "501 close", nil},
		{"RFC 9112 6.1: gzip and chunked in two fields", coded("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), "501 close", nil},
		{"RFC 9112 6.1: deflate, gzip, chunked", coded("Transfer-Encoding: deflate, gzip, chunked"), "501 close", nil},
		{"RFC 9112 6.1: unknown, chunked", coded("Transfer-Encoding: x, chunked"), "501 close", nil},
		{"RFC 9112 6.1: identity, chunked", coded("Transfer-Encoding: identity, chunked"), "400|501 close", nil},
		{"RFC 9112 6.1: unknown with parameter, chunked", coded("Transfer-Encoding: x;a=b, chunked"), "501 close", nil},
		{"RFC 9112 6.1: Transfer-Encoding and fields that look like it", postRoot(body, chunkedLine, "Transfer_Encoding: x", "X-Transfer-Encoding: y"), "200 open", nil},
		{"RFC 9110 10.1.4: TE is another field", postRoot("hello", "Content-Length: 5", "TE: chunked"), "200 open", has(0, "body=hello")},
		{"RFC 9110 8.4: Content-Encoding is another field", postRoot("hello", "Content-Length: 5", "Content-Encoding: chunked"), "200 open", has(0, "body=hello")},
		{"RFC 9110 10.1.4: Connection names Transfer-Encoding", postRoot(body, chunkedLine, "Connection: Transfer-Encoding"), "200 open", has(0, "body=hello")},
		{"RFC 9110 7.6.1: Connection names Content-Length", postRoot("hello", "Content-Length: 5", "Connection: Content-Length"), "200 open", has(0, "body=hello")},
	}
	for _, value := range []string{
		"", " ", ",", "gzip", "x", "identity", "xchunked", "chunkedx", "chunke", "chunk", "chunked chunked", "chunk ed", "x chunked", "chunked x", "chunked, gzip", "chunked,gzip", "chunked, identity", "chunked, chunked", "chunked,chunked", "chunked, x, chunked", "chunked, cow",
		", chunked", "chunked,", "chunked ,", ",chunked", "gzip,,chunked", "x,", "chunked;", "chunked;a=b", "chunked; q=1", "chunked;q=0", "\"chunked\"", "'chunked'", "(chunked)", "=chunked", "chunked=", "chunked\x00", "\x00chunked", "chu\x00nked", "chunked\x0b", "\x0bchunked", "\x0cchunked", "chunked\x0c", "\x01chunked",
		"chunked\x7f", "chunked\xa0", "\xa0chunked", "chunked\x85", "\xffchunked", "chunKed\xe2\x84\xaa", "chun\xe2\x84\xaaed", "\xef\xbb\xbfchunked", "chunked\r\n ", "\r\n chunked", "\r\n\tchunked", "chunked\r\n\tx", "chu\r\n nked", "chunked\r", "\rchunked", "chunked\n", "\nchunked", "chunked\rX: y", "x\nTransfer-Encoding: chunked", "x\rTransfer-Encoding: chunked",
		"chunked/1", "chunked:", ":chunked", "chunked@", "[chunked]", "{chunked}", "<chunked>", "chunked\\", "chunked?", "chunked#", "*", "chunked|x", "compress", "br", "trailers", "chunked, trailers", "0", "%63hunked",
	} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 6.1: coding %q", value), coded("Transfer-Encoding: " + value), "400|501 close", nil})
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 6.1: coding %q and a length", value), postRoot("0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: "+value), "400|501 close", nil})
	}
	for i, fields := range [][]string{
		{chunkedLine, chunkedLine}, {chunkedLine, "Transfer-Encoding: identity"}, {"Transfer-Encoding: identity", chunkedLine}, {chunkedLine, "Transfer-Encoding: x"}, {"Transfer-Encoding: x", chunkedLine}, {chunkedLine, "Transfer-Encoding:"},
		{"Transfer-Encoding:", chunkedLine}, {chunkedLine, "transfer-encoding: cow"}, {"Transfer-Encoding : chunked"}, {"Transfer-Encoding\t: chunked"}, {"Transfer-Encoding \t: chunked"}, {" Transfer-Encoding: chunked"}, {"\tTransfer-Encoding: chunked"},
		{"X: y", " Transfer-Encoding: chunked"}, {"Transfer-Encoding"}, {"Transfer-Encoding chunked"}, {"Transfer-Encoding=chunked"}, {"Transfer-Encoding\x00: chunked"}, {"\x00Transfer-Encoding: chunked"}, {"Transfer-Encoding\x0b: chunked"}, {"Transfer Encoding: chunked"},
		{"Transfer-\r\n Encoding: chunked"}, {"Transfer-Encoding\r\n : chunked"}, {"Transfer-Encoding\r: chunked"}, {"Transfer-Encoding\n: chunked"}, {"Transfer-Encoding:\r\n chunked"}, {"X: y\rTransfer-Encoding: chunked"}, {"X: y\nTransfer-Encoding: chunked"}, {"X: y\r\rTransfer-Encoding: chunked"},
		{"X: y\x00", chunkedLine}, {"X:\n", chunkedLine}, {"\r" + chunkedLine}, {"\xa0Transfer-Encoding: chunked"}, {"Transfer-Encoding\xa0: chunked"}, {"\"Transfer-Encoding\": chunked"}, {"Transfer-Encoding;: chunked"}, {"Transfer-Encoding,: chunked"}, {"Transfer/Encoding: chunked"}, {"Transfer-Encod\xc4\xb1ng: chunked"},
		{"[Transfer-Encoding]: chunked"}, {":Transfer-Encoding: chunked"}, {": chunked"}, {"Transfer-Encoding: gzip", "Transfer-Encoding: identity", chunkedLine},
	} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 6.1: codings %d %q", i, fields), coded(fields...), "400|501 close", nil})
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 6.1: codings %d and a length", i), coded(append([]string{"Content-Length: 5"}, fields...)...), "400|501 close", nil})
	}
	for _, name := range []string{"X-Transfer-Encoding", "Transfer-Encoding-X", "Transfer.Encoding", "TransferEncoding", "Transfer_Encoding", "Transfer--Encoding", "Transfer-Encodings"} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9110 5.1: %s is another field", name), postRoot("hello", "Content-Length: 5", name+": chunked"), "200 open", has(0, "body=hello")})
	}
	return cases
}

func chunks() []conformance {
	cases := []conformance{
		{"RFC 9112 7.1: empty", chunkedRoot("0\r\n\r\n"), "200 open", has(0, "body=")},
		{"RFC 9112 7.1: several chunks", chunkedRoot("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"), "200 open", has(0, "body=abcdef")},
		{"RFC 9112 7.1: hexadecimal digits of both cases", chunkedRoot("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), "200 open", has(0, "body=01234567890123456789")},
		{"RFC 9112 7.1: leading zeros", chunkedRoot("0003\r\nabc\r\n000\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1: size is hexadecimal", chunkedRoot("10\r\n0123456789abcdef\r\n0\r\n\r\n"), "200 open", has(0, "body=0123456789abcdef")},
		{"RFC 9112 7.1: CR LF in the data", chunkedRoot("4\r\n\r\n\r\n\r\n0\r\n\r\n"), "200 open", has(0, "body=\r\n\r\n")},
		{"RFC 9112 7.1: a last chunk in the data", chunkedRoot("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), "200 open", has(0, "body=0\r\n\r\n")},
		{"RFC 9112 7.1: a request in the data", chunkedRoot(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)), "200 open", nil},
		{"RFC 9112 7.1: a request in the data of a body nobody reads", request("POST", "/ignore", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), "200 open", nil},
		{"RFC 9112 7.1: a request behind", chunkedRoot("1\r\nx\r\n0\r\n\r\n") + get("/fast"), "200 200 open", nil},
		{"RFC 9112 7.1: many chunks", chunkedRoot(strings.Repeat("1\r\nx\r\n", 1000) + "0\r\n\r\n"), "200 open", has(0, "body="+strings.Repeat("x", 1000))},
		{"RFC 9112 7.1: more than is collected", chunkedRoot(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 20) + "0\r\n\r\n"), "200 open", has(0, strings.Repeat("x", 20*4096))},
		{"RFC 9110 15.5.14: too large, chunked", chunkedRoot(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 65) + "0\r\n\r\n"), "413 close", nil},
		{"RFC 9112 7.1.1: extension", chunkedRoot("3;a\r\nabc\r\n0;b\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1.1: extension with a value", chunkedRoot("3;a=b\r\nabc\r\n0\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1.1: extension with a quoted value", chunkedRoot("3;a=\"b;c=d\"\r\nabc\r\n0\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1.1: extension with a quoted pair", chunkedRoot("3;a=\"\\\"\\\\\"\r\nabc\r\n0\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1.1: extension with an empty quoted value", chunkedRoot("3;a=\"\"\r\nabc\r\n0\r\n\r\n"), "200 open", nil},
		{"RFC 9112 7.1.1: several extensions", chunkedRoot("3;a;b=c;d=\"e\"\r\nabc\r\n0;x=y;z\r\n\r\n"), "200 open", has(0, "body=abc")},
		{"RFC 9112 7.1.1: whitespace in extensions", chunkedRoot("3 ; a = b ; c\r\nabc\r\n0\r\n\r\n"), "200|400 open|close", nil},
		{"RFC 9112 7.1.1: obs-text in a quoted value", chunkedRoot("3;a=\"\xc3\xa4\"\r\nabc\r\n0\r\n\r\n"), "200 open", nil},
		{"RFC 9112 7.1.1: extension too long", chunkedRoot("3;a=" + strings.Repeat("b", 70000) + "\r\nabc\r\n0\r\n\r\n"), "400|413|431 close", nil},
		{"RFC 9112 7.1.1: too many extensions", chunkedRoot(strings.Repeat("1;a="+strings.Repeat("b", 900)+"\r\nx\r\n", 30) + "0\r\n\r\n"), "400|413|431 close", nil},
		{"RFC 9112 7.1.2: trailer", chunkedRoot("1\r\nx\r\n0\r\nX-Trailer: y\r\n\r\n"), "200 open", has(0, "trailer=X-Trailer:y")},
		{"RFC 9112 7.1.2: trailers", chunkedRoot("0\r\nA: b\r\nC:d\r\nA:  e \r\n\r\n"), "200 open", has(0, "trailer=A:b trailer=C:d trailer=A:e")},
		{"RFC 9112 7.1.2: an empty trailer value", chunkedRoot("0\r\nA:\r\n\r\n"), "200 open", nil},
		{"RFC 9112 7.1.2: a request behind the trailers", chunkedRoot("0\r\nA: b\r\n\r\n") + get("/fast"), "200 200 open", nil},
		{"RFC 9112 7.1.2: trailers of a body nobody reads", request("POST", "/ignore", "Transfer-Encoding: chunked") + "0\r\nA: b\r\n\r\n", "200 open", nil},
		{"RFC 6585 5: too many trailers", chunkedRoot("0\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n"), "400|431 close", nil},
		{"RFC 6585 5: trailer too large", chunkedRoot("0\r\nA: " + strings.Repeat("b", 100_000) + "\r\n\r\n"), "400|431 close", nil},
		{"RFC 9112 8: no last chunk", chunkedRoot("3\r\nabc\r\n"), "400 eof", nil},
		{"RFC 9112 8: part of a chunk", chunkedRoot("5\r\nabc"), "400 eof", nil},
		{"RFC 9112 8: nothing at all", chunkedRoot(""), "400 eof", nil},
		{"RFC 9112 8: last chunk without the empty line", chunkedRoot("0\r\n"), "400 eof", nil},
		{"RFC 9112 8: trailer without the empty line", chunkedRoot("0\r\nA: b\r\n"), "400 eof", nil},
		{"RFC 9112 7.1: refused behind a request", get("/") + chunkedRoot("x\r\n"), "200 400 close", nil},
		{"RFC 9112 7.1: refused in a large body", chunkedRoot(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 20) + "zz\r\n"), "400 close", nil},
	}
	for i := range cases {
		if strings.Contains(cases[i].want, "open|close") { // BWS: bad whitespace, which a recipient must parse (RFC 9110, 5.6.3)
			cases[i].want = "200 open"
		}
	}
	for _, body := range []string{
		// Sizes.
		"\r\n", "\r\n\r\n", "x\r\n", "g\r\nabc\r\n", "-1\r\n", "-0\r\n\r\n", "+3\r\nabc\r\n", "0x3\r\nabc\r\n", "0X3\r\nabc\r\n", "3h\r\nabc\r\n", "#3\r\nabc\r\n", "$3\r\nabc\r\n", "3.0\r\nabc\r\n", "3,\r\nabc\r\n", "1_0\r\nx\r\n", "0_3\r\nabc\r\n", "3 3\r\nabc\r\n", "\"3\"\r\nabc\r\n", "%33\r\nabc\r\n",
		" 3\r\nabc\r\n", "\t3\r\nabc\r\n", "3 \r\nabc\r\n", "3\t\r\nabc\r\n", "3\x00\r\nabc\r\n", "\x003\r\nabc\r\n", "3\x0b\r\nabc\r\n", "\x0b3\r\nabc\r\n", "3\x0c\r\nabc\r\n", "3\xa0\r\nabc\r\n", "3\x80\r\nabc\r\n", "\xd9\xa3\r\nabc\r\n", "abc\x00def\r\n", "3\x7f\r\nabc\r\n", "3=\r\nabc\r\n", "3:\r\nabc\r\n", "3/\r\nabc\r\n", "3@\r\nabc\r\n", "3`\r\nabc\r\n", "3G\r\nabc\r\n",
		"ffffffffffffffff\r\n", "8000000000000000\r\n", "fffffffffffffffff\r\n", "10000000000000000\r\n", "100000000000000003\r\nabc\r\n", "00000000000000000000000000000003\r\nabc\r\n", "7fffffffffffffff0\r\n", strings.Repeat("f", 100) + "\r\n", strings.Repeat("0", 2000) + "3\r\nabc\r\n",
		// Line ends.
		"3\nabc\r\n0\r\n\r\n", "3\rabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\r0\r\n\r\n", "3\r\r\nabc\r\n0\r\n\r\n", "3\n\nabc\r\n0\r\n\r\n", "3\n\rabc\r\n0\r\n\r\n", "3\r\nabc\r\r\n0\r\n\r\n", "3\r\nabc\n\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n", "3\r\nabc\r\n\r\n0\r\n\r\n", "3\r\nabcXX0\r\n\r\n", "3\r\nabc\rX0\r\n\r\n", "3\r\nabc\r\n0\n\n",
		"3\r\nabc\r\n0\n\r\n", "3\r\nabc\r\n0\r\r\n\r\n", "0\r\n\n", "0\r\n\r\r\n", "0\r\n\rX", "0\n\n", "0\r\r", "0\r\n\n\r\n", "3XXabc\r\n0\r\n\r\n", "3 abc\r\n0\r\n\r\n",
		// Extensions.
		"3;\r\nabc\r\n0\r\n\r\n", "3; \r\nabc\r\n", "3;;\r\nabc\r\n", "3;a;\r\nabc\r\n", "3;a=\r\nabc\r\n", "3;=b\r\nabc\r\n", "3;a==b\r\nabc\r\n", "3;a=b=c\r\nabc\r\n", "3;a b\r\nabc\r\n", "3;a=b c\r\nabc\r\n", "3;a=\"b\r\nabc\r\n", "3;a=\"b\"c\r\nabc\r\n", "3;a=b\"\r\nabc\r\n", "3;\"a\"=b\r\nabc\r\n", "3;a\nb\r\nabc\r\n", "3;a\n\r\nabc\r\n", "3;\nabc\r\n", "3;a\nabc\r\n0\r\n\r\n", "3;a\rabc\r\n", "3;a\rb\r\nabc\r\n",
		"3;a=\"\n\"\r\nabc\r\n", "3;a=\"\r\"\r\nabc\r\n", "3;a=\"\r\n\"\r\nabc\r\n", "3;a=\"\\\n\"\r\nabc\r\n", "3;a=\"\\\r\n\"\r\nabc\r\n", "3;a=\"\x00\"\r\nabc\r\n", "3;a=\"\x7f\"\r\nabc\r\n", "3;\x00\r\nabc\r\n", "3;a=\x00\r\nabc\r\n", "3;a\x01\r\nabc\r\n", "3;a\x0b\r\nabc\r\n", "3;\xc3\xa4\r\nabc\r\n", "3;a=\xc3\xa4\r\nabc\r\n", "3;a,b\r\nabc\r\n", "3,a=b\r\nabc\r\n", "3 a=b\r\nabc\r\n", "3;a=(b)\r\nabc\r\n", "3;a:b\r\nabc\r\n", "0;\r\n\r\n", "0;a\n\r\n", "0;\n\n",
		// Trailers.
		"0\r\nA\r\n\r\n", "0\r\n: b\r\n\r\n", "0\r\nA : b\r\n\r\n", "0\r\n A: b\r\n\r\n", "0\r\n\tA: b\r\n\r\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\nA: b\r\n \r\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: b\rC: d\r\n\r\n", "0\r\nA: b\n\n", "0\r\nA: b\r\n\n", "0\r\nA: \x00\r\n\r\n", "0\r\nA\x00: b\r\n\r\n", "0\r\nA B: c\r\n\r\n", "0\r\nA: b\r\r\n\r\n", "0\r\n\r\r\n\r\n", "0\r\nGET /smuggled HTTP/1.1\r\n\r\n", "0\r\nA=b\r\n\r\n", "0\r\nA\xe4: b\r\n\r\n", "0\r\n::\r\n\r\n", "0\r\n \r\n\r\n", "0\r\nA: \x7f\r\n\r\n",
	} {
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 7.1: chunks %.60q", body), chunkedRoot(body), "400 close", nil})
		cases = append(cases, conformance{fmt.Sprintf("RFC 9112 7.1: chunks %.60q, nobody reads", body), request("POST", "/ignore", "Transfer-Encoding: chunked") + body, "400 close", nil})
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Host", "Trailer", "TE", "Connection", "Keep-Alive", "Upgrade", "Authorization", "Cookie", "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "Expect", "Range", "If-Match", "Max-Forwards", "X-Forwarded-For", "content-length", "hOST"} {
		cases = append(cases, conformance{"RFC 9110 6.5.1: trailer " + name, chunkedRoot("0\r\n" + name + ": 5\r\n\r\n"), "400 close", nil})
	}
	return cases
}

func connections() []conformance {
	http10 := func(target string, fields ...string) string { return "GET " + target + " HTTP/1.0\r\n" + lines(fields) }
	return []conformance{
		{"RFC 9112 9.3: HTTP/1.1 persists", get("/") + get("/") + get("/"), "200 200 200 open", field(0, "Connection", "")},
		{"RFC 9112 9.6: close", get("/", "Connection: close"), "200 close", field(0, "Connection", "close")},
		{"RFC 9112 9.6: close in another case", get("/", "cOnNeCtIoN: ClOsE"), "200 close", nil},
		{"RFC 9112 9.6: close in a list", get("/", "Connection: keep-alive, close"), "200 close", nil},
		{"RFC 9112 9.6: close in a list, first", get("/", "Connection: close, keep-alive"), "200 close", nil},
		{"RFC 9110 5.6.1: close behind empty elements", get("/", "Connection: ,, \t,close,,"), "200 close", nil},
		{"RFC 9110 5.6.1: close in a second field", get("/", "Connection: x", "Connection: close"), "200 close", nil},
		{"RFC 9110 7.6.1: closed is not close", get("/", "Connection: closed"), "200 open", nil},
		{"RFC 9110 7.6.1: unknown options", get("/", "Connection: x, y, z"), "200 open", nil},
		{"RFC 9110 7.6.1: an empty Connection", get("/", "Connection:"), "200 open", nil},
		{"RFC 9110 7.6.1: Connection names Host", get("/", "Connection: Host"), "200 open", has(0, "host=a ")},
		{"RFC 9110 7.6.1: Proxy-Connection is another field", get("/", "Proxy-Connection: close"), "200 open", nil},
		{"RFC 9112 9.3: keep-alive in HTTP/1.1", get("/", "Connection: keep-alive"), "200 open", nil},
		{"RFC 9112 9.6: nothing is served behind close", get("/x", "Connection: close"), "200 close", nil},
		{"RFC 9112 9.6: nothing is served behind close with a body", postRoot("hello", "Connection: close", "Content-Length: 5"), "200 close", nil},
		{"RFC 9112 9.6: close of a loop handler", get("/fast", "Connection: close"), "200 close", nil},
		{"RFC 9112 9.6: close of a stream", get("/stream", "Connection: close"), "200 close", has(0, "one two")},
		{"RFC 9112 9.6: close of a reader", get("/reader", "Connection: close"), "200 close", has(0, "from a reader")},
		{"RFC 9112 9.6: close of a large body", get("/large", "Connection: close"), "200 close", nil},
		{"RFC 9112 9.6: close of a 404", request("GET", "/status/404", "Connection: close"), "404 close", nil},
		{"RFC 9112 9.6: close of a 204", request("GET", "/status/204", "Connection: close"), "204 close", nil},
		{"RFC 9112 9.6: close of a HEAD", request("HEAD", "/", "Connection: close"), "HEAD:200 close", nil},
		{"RFC 9112 9.6: close by the handler", get("/close"), "200 over", has(0, "closed by the handler")},
		{"RFC 9112 9.3: HTTP/1.0 closes", http10("/"), "200 close", field(0, "Connection", "close")},
		{"RFC 9112 9.3: HTTP/1.0 closes a loop handler", http10("/fast"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 with Host closes", http10("/", "Host: a"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 with keep-alive", http10("/", "Connection: keep-alive"), "200 open", field(0, "Connection", "keep-alive")},
		{"RFC 9112 9.3: HTTP/1.0 with keep-alive in another case", http10("/fast", "connection: Keep-Alive"), "200 open", field(0, "Connection", "keep-alive")},
		{"RFC 9112 9.3: HTTP/1.0 with keep-alive and close", http10("/", "Connection: keep-alive, close"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 with close and keep-alive in two fields", http10("/", "Connection: close", "Connection: keep-alive"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 with Keep-Alive alone", http10("/", "Keep-Alive: timeout=5"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 with Proxy-Connection", http10("/", "Proxy-Connection: keep-alive"), "200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 twice with keep-alive", http10("/", "Connection: keep-alive") + http10("/", "Connection: keep-alive"), "200 200 open", nil},
		{"RFC 9112 9.3: HTTP/1.0 with keep-alive, then without", http10("/", "Connection: keep-alive") + http10("/"), "200 200 close", nil},
		{"RFC 9112 9.3: HTTP/1.0 body with keep-alive", "POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", "200 open", has(0, "body=hello")},
		{"RFC 9112 9.3: HTTP/1.0 body", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", "200 close", has(0, "body=hello")},
		{"RFC 9112 6.1: no chunks for HTTP/1.0, stream", http10("/stream"), "200 close", has(0, "one two")},
		{"RFC 9112 6.1: no chunks for HTTP/1.0, reader", http10("/reader"), "200 close", has(0, "from a reader")},
		{"RFC 9112 6.1: no chunks for HTTP/1.0, stream with keep-alive", http10("/stream", "Connection: keep-alive"), "200 over", has(0, "one two")},
		{"RFC 9112 6.1: no chunks for HTTP/1.0, reader with keep-alive", http10("/reader", "Connection: keep-alive"), "200 over", has(0, "from a reader")},
		{"RFC 9112 6.1: sized reader for HTTP/1.0 with keep-alive", http10("/sized", "Connection: keep-alive"), "200 open", has(0, "from a reader")},
		{"RFC 9112 9.6: half-close behind a request", get("/"), "200 eof", nil},
		{"RFC 9112 9.6: half-close behind a pipeline", get("/") + get("/large") + get("/stream") + get("/fast"), "200 200 200 200 eof", has(3, "fast")},
		{"RFC 9112 9.6: half-close behind a body", postRoot("hello", "Content-Length: 5"), "200 eof", has(0, "body=hello")},
		{"RFC 9112 9.6: half-close and close", get("/", "Connection: close"), "200 eof", nil},
		{"RFC 9112 9.6: half-close at once", "", " eof", nil},
		{"RFC 9110 7.8: Upgrade is ignored", get("/", "Connection: Upgrade", "Upgrade: websocket"), "200 open", field(0, "Upgrade", "")},
		{"RFC 9110 7.8: h2c is ignored", get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), "200 open", nil},
		{"RFC 9110 7.8: Upgrade with a body", postRoot("hello", "Connection: Upgrade", "Upgrade: x", "Content-Length: 5"), "200 open", has(0, "body=hello")},
		{"RFC 9110 7.8: Upgrade not named", get("/", "Upgrade: websocket"), "200 open", nil},
		{"RFC 9110 7.8: Upgrade in HTTP/1.0", http10("/", "Connection: Upgrade", "Upgrade: websocket"), "200 close", nil},
		{"RFC 6455: a WebSocket handshake that nobody serves", get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), "200 open", nil},
		{"RFC 8441: Upgrade to TLS", get("/", "Connection: Upgrade", "Upgrade: TLS/1.2"), "200 open", nil},
	}
}

func pipelines() []conformance {
	var cases []conformance
	answered := []struct{ name, send, want string }{
		{"a loop handler", get("/fast"), "200"}, {"a worker", get("/"), "200"}, {"a stream", get("/stream"), "200"}, {"a reader", get("/reader"), "200"}, {"a large body", get("/large"), "200"},
		{"a POST", postRoot("hello", "Content-Length: 5"), "200"}, {"a chunked POST", chunkedRoot("1\r\nx\r\n0\r\n\r\n"), "200"}, {"a HEAD", request("HEAD", "/large"), "HEAD:200"}, {"a 204", get("/status/204"), "204"}, {"a 304", get("/status/304"), "304"},
		{"a panic", get("/panic"), "500"}, {"a 405", request("DELETE", "/only"), "405"}, {"an unread body", request("POST", "/ignore", "Content-Length: 5") + "hello", "200"}, {"a HEAD of a stream", request("HEAD", "/stream"), "HEAD:200"}, {"OPTIONS", request("OPTIONS", "*"), "200"},
	}
	for _, a := range answered {
		cases = append(cases, conformance{"RFC 9112 9.3.2: twice " + a.name, a.send + a.send, a.want + " " + a.want + " open", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: a bad request behind " + a.name, a.send + "GET /smuggled HTTP/1.1\r\nHost : a\r\n\r\n", a.want + " 400 close", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: a bad request line behind " + a.name, a.send + "\x00", a.want + " 400 close", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: part of a request behind " + a.name, a.send + "GET /smuggled HT", a.want + " eof", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: a bad chunk behind " + a.name, a.send + chunkedRoot("-1\r\n"), a.want + " 400 close", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: close behind " + a.name, a.send + get("/fast", "Connection: close"), a.want + " 200 close", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: HTTP/1.0 behind " + a.name, a.send + "GET /fast HTTP/1.0\r\n\r\n", a.want + " 200 close", nil})
		cases = append(cases, conformance{"RFC 9112 9.3.2: too large behind " + a.name, a.send + postRoot("", "Content-Length: 999999999"), a.want + " 413 close", nil})
		for _, b := range answered {
			if a.name != b.name {
				cases = append(cases, conformance{"RFC 9112 9.3.2: " + b.name + " behind " + a.name, a.send + b.send + get("/fast"), a.want + " " + b.want + " 200 open", nil})
			}
		}
	}
	cases = append(cases,
		conformance{"RFC 9112 9.3.2: 300 requests at once", strings.Repeat(get("/fast"), 300), strings.Repeat("200 ", 300) + "open", nil},
		conformance{"RFC 9112 9.3.2: 300 requests for workers", strings.Repeat(get("/"), 300), strings.Repeat("200 ", 300) + "open", nil},
		conformance{"RFC 9112 9.3.2: 100 POSTs", strings.Repeat(postRoot("hello", "Content-Length: 5"), 100), strings.Repeat("200 ", 100) + "open", nil},
		conformance{"RFC 9112 9.3.2: 30 large answers", strings.Repeat(get("/large"), 30), strings.Repeat("200 ", 30) + "open", nil},
	)
	return cases
}

func expectations() []conformance {
	continued := func(want int) func([]*http1test.Response) error {
		return func(a []*http1test.Response) error {
			if len(a[0].Interim) > want {
				return fmt.Errorf("%d interim answers: %v", len(a[0].Interim), a[0].Interim)
			}
			for _, i := range a[0].Interim {
				if i.Status != 100 || len(i.Fields) > 0 {
					return fmt.Errorf("interim %v", i)
				}
			}
			return nil
		}
	}
	return []conformance{
		{"RFC 9110 10.1.1: the body comes unasked", postRoot("hello", "Expect: 100-continue", "Content-Length: 5"), "200 open", all(continued(1), has(0, "body=hello"))},
		{"RFC 9110 10.1.1: the chunked body comes unasked", postRoot("5\r\nhello\r\n0\r\n\r\n", "Expect: 100-continue", "Transfer-Encoding: chunked"), "200 open", all(continued(1), has(0, "body=hello"))},
		{"RFC 9110 10.1.1: case", postRoot("hello", "expect: 100-CONTINUE", "Content-Length: 5"), "200 open", all(continued(1), has(0, "body=hello"))},
		{"RFC 9110 10.1.1: no body", get("/", "Expect: 100-continue"), "200 open", continued(0)},
		{"RFC 9110 10.1.1: an empty body", postRoot("", "Expect: 100-continue", "Content-Length: 0"), "200 open", continued(0)},
		{"RFC 9110 10.1.1: ignored in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "200 close", all(continued(0), has(0, "body=hello"))},
		{"RFC 9110 10.1.1: unknown, ignored in HTTP/1.0", "GET / HTTP/1.0\r\nExpect: x\r\n\r\n", "200|417 close", nil},
		{"RFC 9110 10.1.1: too large and expected", postRoot("", "Expect: 100-continue", "Content-Length: 262145"), "413 close", continued(0)},
		{"RFC 9110 10.1.1: refused by the method", request("FOO", "/", "Expect: 100-continue", "Content-Length: 5"), "501 close", continued(0)},
		{"RFC 9110 10.1.1: refused by the route", request("DELETE", "/only", "Expect: 100-continue", "Content-Length: 5"), "405 close", continued(0)},
		{"RFC 9110 10.1.1: refused by the handler", request("POST", "/ignore", "Expect: 100-continue", "Content-Length: 500"), "200 close", continued(0)},
		{"RFC 9110 10.1.1: bad framing", postRoot("", "Expect: 100-continue", "Content-Length: 5", "Transfer-Encoding: chunked"), "400 close", continued(0)},
		{"RFC 9110 10.1.1: unknown", get("/", "Expect: 200-ok"), "417 open", nil},
		{"RFC 9110 10.1.1: unknown beside a known one", get("/", "Expect: 100-continue, x"), "417 open", nil},
		{"RFC 9110 10.1.1: unknown in a second field", get("/", "Expect: 100-continue", "Expect: x"), "417 open", nil},
		{"RFC 9110 10.1.1: unknown with a body that does not come", postRoot("", "Expect: x", "Content-Length: 5"), "417 close", nil},
		{"RFC 9110 10.1.1: unknown with a chunked body that does not come", postRoot("", "Expect: x=y", "Transfer-Encoding: chunked"), "417 close", nil},
		{"RFC 9110 10.1.1: parameters", get("/", "Expect: 100-continue;a=b"), "417 open", nil},
		{"RFC 9110 10.1.1: an empty expectation", get("/", "Expect:"), "200 open", nil},
		{"RFC 9110 10.1.1: a second request behind", get("/") + postRoot("hello", "Expect: 100-continue", "Content-Length: 5"), "200 200 open", has(1, "body=hello")},
		{"RFC 9110 10.1.1: a request hides behind a refusal", request("POST", "/ignore", "Expect: 100-continue", fmt.Sprint("Content-Length: ", 500)) + smuggled, "200 close", nil},
	}
}

func answersOf() []conformance {
	none := func(a []*http1test.Response) error {
		if a[0].Fields.Has("Content-Length") || a[0].Fields.Has("Transfer-Encoding") {
			return fmt.Errorf("%v", a[0].Fields)
		}
		return nil
	}
	clean := func(a []*http1test.Response) error {
		if a[0].Fields.Has("X-Injected") || string(a[0].Body) != "whole" || a[0].Get("X-Good") != "good" {
			return fmt.Errorf("%v %q", a[0].Fields, a[0].Body)
		}
		return nil
	}
	return []conformance{
		{"RFC 9110 15.3.5: 204 has no body", get("/status/204"), "204 open", none},
		{"RFC 9110 15.3.5: HEAD of 204", request("HEAD", "/status/204"), "HEAD:204 open", none},
		{"RFC 9110 15.3.6: 205 has no body", get("/status/205"), "205 open", field(0, "Content-Length", "0")},
		{"RFC 9110 15.4.5: 304 has no body", get("/status/304"), "304 open", nil},
		{"RFC 9110 15.5.5: 404", get("/status/404"), "404 open", has(0, "content")},
		{"RFC 9110 15: 599", get("/status/599"), "599 open", has(0, "content")},
		{"RFC 9110 15.6.1: panic", get("/panic"), "500 open", nil},
		{"RFC 9110 8.6: nothing", get("/nothing"), "200 open", field(0, "Content-Length", "0")},
		{"RFC 9112 7.1: stream", get("/stream"), "200 open", all(has(0, "one two"), field(0, "Transfer-Encoding", "chunked"))},
		{"RFC 9112 7.1: reader of unknown length", get("/reader"), "200 open", all(has(0, "from a reader"), field(0, "Transfer-Encoding", "chunked"))},
		{"RFC 9110 8.6: reader of known length", get("/sized"), "200 open", all(has(0, "from a reader"), field(0, "Content-Length", "13"))},
		{"RFC 9110 8.6: large", get("/large"), "200 open", field(0, "Content-Length", "262144")},
		{"RFC 9112 11.1: a handler's values cannot split the answer", get("/split"), "200 open", clean},
		{"RFC 9112 11.1: a handler's values cannot split the answer to HEAD", request("HEAD", "/split"), "HEAD:200 open", nil},
		{"RFC 9112 11.1: a handler's values cannot split the answer to HTTP/1.0", "GET /split HTTP/1.0\r\n\r\n", "200 close", clean},
		{"RFC 9110 8.6: the server's own fields", get("/servers"), "200 open", all(has(0, "content"), field(0, "Content-Length", "7"), field(0, "Transfer-Encoding", ""), field(0, "Keep-Alive", ""), field(0, "Connection", ""), field(0, "Server", "tined"))},
		{"RFC 9110 8.6: the server's own fields, HEAD", request("HEAD", "/servers"), "HEAD:200 open", all(field(0, "Content-Length", "7"), field(0, "Transfer-Encoding", ""))},
		{"RFC 9112 6.1: the server's own fields, stream", get("/servers/stream"), "200 open", all(has(0, "content"), field(0, "Transfer-Encoding", "chunked"), field(0, "Server", "tined"))},
	}
}

// sizes are about the limits as they are without a configuration.
func sizes() []conformance {
	return []conformance{
		{"RFC 9112 3: request line too long", get("/" + strings.Repeat("a", 17<<10)), "414 close", nil},
		{"RFC 9112 3: query too long", get("/?" + strings.Repeat("a", 100<<10)), "414 close", nil},
		{"RFC 9112 3: endless request line", "GET /" + strings.Repeat("a", 200<<10), "414 close", nil},
		{"RFC 6585 5: a field too long", get("/", "X: "+strings.Repeat("y", 70<<10)), "431 close", nil},
		{"RFC 6585 5: a name too long", get("/", strings.Repeat("n", 70<<10)+": y"), "431 close", nil},
		{"RFC 6585 5: endless field", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 200<<10), "431 close", nil},
		{"RFC 6585 5: endless name", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("y", 200<<10), "431 close", nil},
		{"RFC 6585 5: fields too large together", get("/", strings.Split(strings.Repeat("X: "+strings.Repeat("y", 997)+"\n", 70), "\n")[:70]...), "431 close", nil},
		{"RFC 6585 5: too many fields", get("/", strings.Split(strings.Repeat("X: y\n", 200), "\n")[:200]...), "431 close", nil},
		{"RFC 6585 5: 100 fields are allowed", get("/", strings.Split(strings.Repeat("X: y\n", 100), "\n")[:100]...), "200 open", nil},
		{"RFC 9112 3: request line too long behind a request", get("/") + get("/"+strings.Repeat("a", 17<<10)), "200 414 close", nil},
		{"RFC 6585 5: too many fields, with a body", postRoot(smuggled, append(strings.Split(strings.Repeat("X: y\n", 200), "\n")[:200], fmt.Sprint("Content-Length: ", len(smuggled)))...), "431 close", nil},
		{"RFC 9110 15.5.14: too large, and it comes", postRoot(strings.Repeat("x", 1<<20), "Content-Length: 1048576"), "413 close", nil},
		{"RFC 9110 15.5.14: too large, and it comes chunked", chunkedRoot(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 1<<20, strings.Repeat("x", 1<<20))), "413 close", nil},
		{"RFC 9110 15.5.14: too large for a handler that does not read", request("POST", "/ignore", "Content-Length: 1048576") + strings.Repeat("x", 1<<20), "413 close", nil},
	}
}

// A bytePlace is a place in a request where any byte can be put (%s in send), and what must come of it: "" leaves the byte out.
type bytePlace struct {
	name, send string
	want       func(b byte) string
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	tchar   = "!#$%&'*+-.^_`|~" + letters + digits // RFC 9110, 5.6.2
	pchar   = "-._~!$&'()*+,;=:@" + letters + digits
	passes  = "200 open"
	refused = "400 close"
)

// either answers with yes for the bytes of set, no for the others.
func either(set, yes, no string) func(byte) string {
	return func(b byte) string {
		if strings.IndexByte(set, b) >= 0 {
			return yes
		}
		return no
	}
}

// visible: field-vchar, SP and HTAB (RFC 9110, 5.5).
func visible(yes, no string) func(byte) string {
	return func(b byte) string {
		if b == '\t' || b >= ' ' && b != 0x7f {
			return yes
		}
		return no
	}
}

// lengthByte passes the bytes of set, leaves the others of leftOut out (they announce a body), and refuses the rest.
func lengthByte(set, leftOut string) func(byte) string {
	return func(b byte) string {
		switch {
		case strings.IndexByte(set, b) >= 0:
			return passes
		case strings.IndexByte(leftOut, b) >= 0:
			return ""
		}
		return refused
	}
}

var bytePlaces = []bytePlace{
	{"before the method", "%sGET / HTTP/1.1\r\nHost: a\r\n\r\n", either(tchar, "501 open", refused)},
	{"in the method", "G%sET / HTTP/1.1\r\nHost: a\r\n\r\n", either(tchar, "501 open", refused)},
	{"behind the method", "GET%s/ HTTP/1.1\r\nHost: a\r\n\r\n", either(" ", passes, refused)},
	{"before the target", "GET %s/x HTTP/1.1\r\nHost: a\r\n\r\n", either("/", "307 open", refused)},
	{"in the path", "GET /x%sx HTTP/1.1\r\nHost: a\r\n\r\n", either(pchar+"/?[]|", passes, refused)},
	{"in the query", "GET /?x%sx HTTP/1.1\r\nHost: a\r\n\r\n", either(pchar+"/?[]|{}^`\\", passes, refused)},
	{"behind a percent sign", "GET /%%%s1 HTTP/1.1\r\nHost: a\r\n\r\n", either(digits+"abcdefABCDEF", passes, refused)},
	{"second behind a percent sign", "GET /%%4%s HTTP/1.1\r\nHost: a\r\n\r\n", either(digits+"abcdefABCDEF", passes, refused)},
	{"in the authority", "GET http://b%sb/ HTTP/1.1\r\nHost: a\r\n\r\n", either("-._~!$&'()*+;=/?"+letters+digits, passes, refused)},
	{"behind the target", "GET /%sHTTP/1.1\r\nHost: a\r\n\r\n", either(" ", passes, refused)},
	{"major version", "GET / HTTP/%s.1\r\nHost: a\r\n\r\n", func(b byte) string {
		if b == '1' {
			return passes
		}
		return either(digits, "505 close", refused)(b)
	}},
	{"point of the version", "GET / HTTP/1%s1\r\nHost: a\r\n\r\n", either(".", passes, refused)},
	{"minor version", "GET / HTTP/1.%s\r\nHost: a\r\n\r\n", func(b byte) string {
		if b == '0' {
			return "200 close"
		}
		return either(digits, passes, refused)(b)
	}},
	{"behind the version", "GET / HTTP/1.1%s\r\nHost: a\r\n\r\n", either("", passes, refused)},
	{"in place of the CR of the request line", "GET / HTTP/1.1%s\nHost: a\r\n\r\n", either("\r", passes, refused)},
	{"in place of the LF of the request line", "GET / HTTP/1.1\r%sHost: a\r\n\r\n", either("\n", passes, refused)},
	{"before the first field", "GET / HTTP/1.1\r\n%sX: y\r\nHost: a\r\n\r\n", either(tchar, passes, refused)},
	{"in a name", "GET / HTTP/1.1\r\nHost: a\r\nX%sX: y\r\n\r\n", either(tchar+":", passes, refused)},
	{"before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX%s: y\r\n\r\n", either(tchar+":", passes, refused)},
	{"behind the colon", "GET / HTTP/1.1\r\nHost: a\r\nX:%sy\r\n\r\n", visible(passes, refused)},
	{"in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a%sb\r\n\r\n", visible(passes, refused)},
	{"at the end of a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a%s\r\n\r\n", visible(passes, refused)},
	{"in place of the CR of a field", "GET / HTTP/1.1\r\nHost: a%s\n\r\n", either("\r", passes, refused)},
	{"in place of the LF of a field", "GET / HTTP/1.1\r\nHost: a\r%s\r\n", either("\n", passes, refused)},
	{"in place of the last CR", "GET / HTTP/1.1\r\nHost: a\r\n%s\n", either("\r", passes, refused)},
	{"in place of the last LF", "GET / HTTP/1.1\r\nHost: a\r\n\r%s", either("\n", passes, refused)},
	{"in Host", "GET / HTTP/1.1\r\nHost: b%sb\r\n\r\n", either("-._~!$&'()*+;="+letters+digits, passes, refused)},
	{"at the end of Host", "GET / HTTP/1.1\r\nHost: b%s\r\n\r\n", either(" \t-._~!$&'()*+;=:"+letters+digits, passes, refused)},
	{"in the port", "GET / HTTP/1.1\r\nHost: b:1%s1\r\n\r\n", either(digits, passes, refused)},
	{"in an IPv6 address", "GET / HTTP/1.1\r\nHost: [::%s1]\r\n\r\n", either(digits+"abcdefABCDEF", passes, refused)},
	{"before a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:%s0\r\n\r\n", lengthByte("0 \t", digits)},
	{"behind a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0%s\r\n\r\n", lengthByte("0 \t", digits)},
	{"in a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0%s0\r\n\r\n", lengthByte("0", digits)},
	{"before the name of the length", "POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: x\r\n\r\n", either(tchar, passes, refused)},
	{"behind the name of the length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length%s: 500\r\n\r\n", either(tchar, passes, refused)},
	{"before a coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:%schunked\r\n\r\n0\r\n\r\n", either(" \t", passes, refused)},
	{"behind a coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked%s\r\n\r\n0\r\n\r\n", either(" \t", passes, refused)},
	{"before the name of the coding", "POST / HTTP/1.1\r\nHost: a\r\n%sTransfer-Encoding: x\r\n\r\n", either(tchar, passes, refused)},
	{"behind the name of the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding%s: x\r\n\r\n", either(tchar, passes, refused)},
	{"before a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", lengthByte("0", digits+"abcdefABCDEF")},
	{"behind a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0%s\r\n\r\n", lengthByte("0", digits+"abcdefABCDEF")},
	{"behind a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx%s\n0\r\n\r\n", either("\r", passes, refused)},
	{"second behind a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r%s0\r\n\r\n", either("\n", passes, refused)},
	{"in place of the CR of a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0%s\n\r\n", either("\r", passes, refused)},
	{"in place of the LF of a chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r%s\r\n", either("\n", passes, refused)},
	{"in place of the CR of the last line", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s\n", either("\r", passes, refused)},
	{"in place of the LF of the last line", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r%s", either("\n", passes, refused)},
	{"in an extension's name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a%sa\r\n\r\n", either(tchar+";=", passes, refused)},
	{"in an extension's value", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a=a%sa\r\n\r\n", either(tchar+";", passes, refused)},
	{"in an extension's quoted value", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\"a%sa\"\r\n\r\n", func(b byte) string {
		if b == '"' {
			return refused
		}
		return visible(passes, refused)(b)
	}},
	{"in a trailer's name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA%sA: b\r\n\r\n", either(tchar+":", passes, refused)},
	{"in a trailer's value", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: a%sb\r\n\r\n", visible(passes, refused)},
}
