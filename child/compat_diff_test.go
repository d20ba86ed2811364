package child

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
)

// answered is what a client has seen of one exchange.
type answered struct {
	informed string // informational responses
	status   string // without the version, which is the server's (RFC 9110, 2.5), and the reason phrase, which is nobody's
	header   string // sorted, without what frames the body and what the server says in its own name: Date, Server, Connection
	length   string // Content-Length
	chunked  string
	body     string
	trailer  string
	next     string // what became of the connection: "kept" or "closed"
}

// parts yields the fields by name.
func (a *answered) parts() map[string]*string {
	return map[string]*string{
		"informed": &a.informed, "status": &a.status, "header": &a.header, "length": &a.length, "chunked": &a.chunked, "body": &a.body,
		"trailer": &a.trailer, "next": &a.next,
	}
}

// converse sends raw to a server and reads the whole of its answer.
func converse(t *testing.T, address, raw string) (a answered) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	reader := bufio.NewReader(conn)
	var resp *http.Response
	for {
		if resp, err = http.ReadResponse(reader, &http.Request{Method: method}); err != nil {
			a.status, a.next = "none", "closed"
			return a
		}
		if resp.StatusCode >= 200 || resp.StatusCode == 101 {
			break
		}
		a.informed += fmt.Sprintf("%d %s\n", resp.StatusCode, written(resp.Header))
	}
	a.status = fmt.Sprint(resp.StatusCode)
	a.length = resp.Header.Get("Content-Length")
	a.chunked = strings.Join(resp.TransferEncoding, ",")
	announced := slices.Sorted(maps.Keys(resp.Trailer))
	for _, name := range []string{"Date", "Server", "Connection", "Content-Length"} {
		resp.Header.Del(name)
	}
	a.header = written(resp.Header)
	content, err := io.ReadAll(resp.Body)
	a.body = summary(string(content))
	if err != nil {
		a.body += " (cut)"
	}
	if len(announced)+len(resp.Trailer) > 0 {
		a.trailer = fmt.Sprintf("%s announced, %s", announced, written(resp.Trailer))
	}
	a.next = "closed"
	if _, err := io.WriteString(conn, "GET /again HTTP/1.1\r\nHost: again\r\n\r\n"); err == nil {
		if resp, err := http.ReadResponse(reader, nil); err == nil && resp.Header.Get("X-Again") != "" {
			a.next = "kept"
		}
	}
	return a
}

func written(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return strings.ReplaceAll(b.String(), "\r\n", "; ")
}

// summary shortens a long body.
func summary(s string) string {
	if len(s) <= 100 {
		return s
	}
	return fmt.Sprintf("%d bytes from %q to %q", len(s), s[:10], s[len(s)-10:])
}

// difference is one that is meant to be.
type difference struct {
	part             string // of answered
	nethttp, adapted string
	why              string
}

type compared struct {
	name    string
	request string
	handler http.HandlerFunc
	differs []difference
}

const (
	plainGet  = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	plainHead = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
	oldGet    = "GET / HTTP/1.0\r\nHost: a\r\n\r\n"
	oldKeep   = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
)

// The same handlers answer the same requests under net/http's server and here; what differs is explained.
func TestAdapterEqualsNetHTTP(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.bin")
	if err := os.WriteFile(large, []byte(strings.Repeat("0123456789abcdef", 64<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range comparisons(large) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/again" {
					w.Header().Set("X-Again", "yes")
					return
				}
				c.handler(w, r)
			})
			reference := httptest.NewUnstartedServer(both)
			reference.Config.ErrorLog = log.New(io.Discard, "", 0)
			reference.Start()
			defer reference.Close()
			tc := start(t, "", routes{"/": web.HTTP(both)})
			want := converse(t, reference.Listener.Addr().String(), c.request)
			got := converse(t, tc.address, c.request)
			for _, d := range c.differs {
				theirs, ours := want.parts()[d.part], got.parts()[d.part]
				if *theirs != d.nethttp || *ours != d.adapted || *theirs == *ours {
					t.Errorf("%s: net/http %q, adapted %q; the difference that is explained (%s) is %q, %q", d.part, *theirs, *ours, d.why, d.nethttp, d.adapted)
				}
				*theirs, *ours = "", ""
			}
			ours := got.parts()
			for part, theirs := range want.parts() {
				if *theirs != *ours[part] {
					t.Errorf("%s: net/http %q, adapted %q", part, *theirs, *ours[part])
				}
			}
		})
	}
}

func comparisons(large string) []compared {
	long := strings.Repeat("<p>long", 10_000)
	textType := "Content-Type: text/plain; charset=utf-8; "
	write := func(pieces ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, p := range pieces {
				io.WriteString(w, p)
			}
		}
	}
	with := func(then http.HandlerFunc, fields ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(fields); i += 2 {
				w.Header().Set(fields[i], fields[i+1])
			}
			then(w, r)
		}
	}
	status := func(code int, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code); then(w, r) }
	}
	flushed := func(pieces ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, p := range pieces {
				io.WriteString(w, p)
				w.(http.Flusher).Flush()
			}
		}
	}
	report := func(f func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, f(w, r)) }
	}
	sendfile := func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, large) }
	const upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	const chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Twice\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"

	return []compared{
		{name: "nothing", request: plainGet, handler: write()},
		{name: "text", request: plainGet, handler: write("hello")},
		{name: "html in pieces", request: plainGet, handler: write("<ht", "ml>")},
		{name: "own type", request: plainGet, handler: with(write("<html>"), "content-type", "a/b")},
		{name: "encoded", request: plainGet, handler: with(write("<html>"), "Content-Encoding", "gzip")},
		{name: "no type wanted", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "<html>")
		}},
		{name: "no type wanted, flushed", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			flushed("<html>", "more")(w, nil)
		}},
		{name: "beyond both buffers", request: plainGet, handler: write(long, long, long)},
		{name: "between the buffers", request: plainGet, handler: write(long[:3000]), differs: []difference{
			{"length", "", "3000", "up to StreamAt bytes are collected, not 2048"}, {"chunked", "chunked", "", "likewise"},
		}},
		{name: "flushed", request: plainGet, handler: flushed("one ", "two")},
		{name: "flushed, declared", request: plainGet, handler: with(flushed("one ", "two"), "Content-Length", "7")},
		{name: "declared", request: plainGet, handler: with(write("abc"), "Content-Length", "3")},
		{name: "declared, nonsense", request: plainGet, handler: with(write("abc"), "Content-Length", "many"), differs: []difference{
			{"length", "", "3", "what is no length counts as none"}, {"chunked", "chunked", "", "likewise"},
		}},
		{name: "declared, less", request: plainGet, handler: with(write("abc"), "Content-Length", "5")},
		{name: "declared, nothing", request: plainGet, handler: with(write(), "Content-Length", "5")},
		{name: "declared, more", request: plainGet, handler: with(write("abc", "d"), "Content-Length", "3"), differs: []difference{
			{"next", "closed", "kept", "the client has got what was declared"},
		}},
		{name: "write errors", request: plainGet, handler: report(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Length", "30")
			_, err := w.Write([]byte(strings.Repeat("x", 31)))
			return err
		})},
		{name: "no content", request: plainGet, handler: status(204, write("x"))},
		{name: "reset content", request: plainGet, handler: status(205, write())},
		{name: "not modified", request: plainGet, handler: with(status(304, write()), "ETag", `"a"`, "Content-Type", "a/b"), differs: []difference{
			{"header", `Etag: "a"; `, `Content-Type: a/b; Etag: "a"; `, "a 304 may say more (RFC 9110, 15.4.5)"},
		}},
		{name: "unusual status", request: plainGet, handler: status(799, write("x")), differs: []difference{
			{"status", "799", "500", "there are five classes (RFC 9110, 15)"},
		}},
		{name: "superfluous status", request: plainGet, handler: status(201, status(500, write("x")))},
		{name: "header too late", request: plainGet, handler: status(202, with(write("x"), "X-Late", "1"))},
		{name: "header after Write", request: plainGet, handler: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "x")
			w.Header().Set("X-Late", "1")
		}},
		{name: "field values", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X-Two"] = []string{"1", " 2 "}
			w.Header().Set("X-Split", "a\r\nSet-Cookie: b")
			w.Header()["bad name"] = []string{"x"}
			w.Header().Set("X-Empty", "")
		}},
		{name: "server's fields", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			w.Header().Set("Server", "mine")
			w.Header().Set("Keep-Alive", "timeout=5")
		}, differs: []difference{{"header", "Keep-Alive: timeout=5; ", "", "they are the server's"}}},
		{name: "close", request: plainGet, handler: with(write("x"), "Connection", "close")},
		{name: "client closes", request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", handler: write("x")},
		{name: "transfer coding", request: plainGet, handler: with(write("x"), "Transfer-Encoding", "chunked"), differs: []difference{
			{"length", "", "1", "the framing is the server's"}, {"chunked", "chunked", "", "likewise"}, {"header", "", textType, "likewise"},
		}},

		{name: "HEAD, nothing", request: plainHead, handler: write(), differs: []difference{{"chunked", "", "chunked", "no length is known"}}},
		{name: "HEAD", request: plainHead, handler: write("<html>")},
		{name: "HEAD, declared", request: plainHead, handler: with(write(), "Content-Length", "7")},
		{name: "HEAD, long", request: plainHead, handler: write(long), differs: []difference{{"length", "", "70000", "what was written was counted"}}},
		{name: "HEAD, flushed", request: plainHead, handler: flushed("a", "b"), differs: []difference{{"chunked", "", "chunked", "as GET has it"}}},
		{name: "HEAD of a file", request: plainHead, handler: sendfile},

		{name: "HTTP/1.0", request: oldGet, handler: write("x")},
		{name: "HTTP/1.0, keep-alive", request: oldKeep, handler: write("x")},
		{name: "HTTP/1.0, keep-alive, declared", request: oldKeep, handler: with(write("x"), "Content-Length", "1")},
		{name: "HTTP/1.0, flushed", request: oldKeep, handler: flushed("a", "b")},
		{name: "HTTP/1.0, hints", request: oldGet, handler: status(103, write("x")), differs: []difference{
			{"informed", "103 \n", "", "never to HTTP/1.0 (RFC 9110, 15.2)"},
		}},
		{name: "HTTP/1.0, trailers", request: oldGet, handler: with(flushed("x"), "Trailer", "X-Sum", http.TrailerPrefix+"X-Other", "1"), differs: []difference{
			{"header", textType + "Trailer: X-Sum; ", textType, "none can follow"},
		}},

		{name: "hints", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			w.Header().Add("Link", "</b.css>; rel=preload")
			w.WriteHeader(103)
			w.WriteHeader(102)
			io.WriteString(w, "x")
		}},
		{name: "hints before HEAD", request: plainHead, handler: status(103, write("x"))},
		{name: "101 without Hijack", request: plainGet, handler: with(status(101, write()), "Upgrade", "x", "Connection", "Upgrade"), differs: []difference{
			{"status", "101", "500", "nobody speaks the other protocol"},
			{"header", "Upgrade: x; ", textType + "Upgrade: x; ", "likewise"},
			{"length", "", "22", "likewise"}, {"body", "", "Internal Server Error\n", "likewise"},
		}},

		{name: "trailers", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum, X-Never, Content-Length")
			flushed("a", "b")(w, nil)
			w.Header().Add("X-Sum", "1")
			w.Header().Add("X-Sum", "2")
			w.Header().Set("X-Stranger", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "3")
		}},
		{name: "trailers of little", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "x")
			w.Header().Set("X-Sum", "1")
		}},
		{name: "trailers of nothing", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(200)
			w.Header().Set("X-Sum", "1")
		}},
		{name: "trailers that never come", request: plainGet, handler: with(write("x"), "Trailer", "X-Sum")},
		{name: "trailers by prefix, late", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			io.WriteString(w, "x")
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}, differs: []difference{
			{"trailer", "", "[X-Sum] announced, X-Sum: 1; ", "the response is not on its way yet"}, {"chunked", "", "chunked", "likewise"},
			{"length", "1", "", "likewise"},
		}},
		{name: "trailers and a length", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "x")
			w.Header().Set("X-Sum", "1")
		}, differs: []difference{{"header", textType + "Trailer: X-Sum; ", textType, "none can follow"}}},
		{name: "trailers and HEAD", request: plainHead, handler: with(write("x"), "Trailer", "X-Sum"), differs: []difference{
			{"header", textType + "Trailer: X-Sum; ", textType, "they are announced beside the coding that they need"},
			{"chunked", "", "chunked", "likewise"}, {"trailer", "", "[X-Sum] announced, ", "likewise"},
		}},

		{name: "file", request: plainGet, handler: sendfile},
		{name: "file, range", request: "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=100-99999\r\n\r\n", handler: sendfile},
		{name: "file, small range", request: "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=100-199\r\n\r\n", handler: sendfile},
		{name: "file, beyond", request: "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=99999999-\r\n\r\n", handler: sendfile},
		{name: "file, HTTP/1.0", request: oldGet, handler: sendfile},

		{name: "aborted", request: plainGet, handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "aborted later", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			flushed("begun")(w, nil)
			panic(http.ErrAbortHandler)
		}},
		{name: "panic", request: plainGet, handler: func(http.ResponseWriter, *http.Request) { panic("oops") }, differs: []difference{
			{"status", "none", "500", "the client is told"},
			{"header", "", textType, "likewise"}, {"length", "", "22", "likewise"}, {"body", "", "Internal Server Error\n", "likewise"}, {"next", "closed", "kept", "likewise"},
		}},

		{name: "request", request: "GET /a%2Fb/c?x=1&y=%20 HTTP/1.1\r\nHost: tined.example:80\r\nX-B: 1\r\nx-b: 2\r\nPragma: no-cache\r\n\r\n", handler: tell},
		{name: "absolute form", request: "GET http://other/x?y HTTP/1.1\r\nHost: a\r\n\r\n", handler: tell},
		{name: "asterisk form", request: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", handler: tell, differs: []difference{
			{"header", "", "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH; ", "the methods of all routes (RFC 9110, 9.3.7)"},
		}},
		{name: "body", request: upload, handler: tell},
		{name: "chunked body", request: chunks, handler: tell},
		{name: "body asked for", request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", handler: tell, differs: []difference{
			{"informed", "100 \n", "", "it has come already (RFC 9110, 10.1.1)"},
		}},
		{name: "body not read", request: upload, handler: write("x")},
		{name: "body too large", request: upload, handler: http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			var tooLarge *http.MaxBytesError
			fmt.Fprint(w, errors.As(err, &tooLarge))
		}), 3).ServeHTTP, differs: []difference{{"next", "closed", "kept", "the rest of the body is here"}}},
		{name: "time out", request: plainGet, handler: http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}), time.Millisecond, "late").ServeHTTP},
		{name: "in time", request: plainGet, handler: http.TimeoutHandler(with(write("x"), "X-A", "b"), time.Minute, "late").ServeHTTP},
		{name: "redirect", request: plainGet, handler: http.RedirectHandler("/there?é", http.StatusFound).ServeHTTP},
		{name: "error", request: plainGet, handler: with(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusGone) }, "Content-Length", "7", "ETag", "x")},
		{name: "cookies", request: plainGet, handler: func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2", HttpOnly: true})
		}},
	}
}

// tell answers with all that a handler can see of a request.
func tell(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	_, again := r.Body.Read(make([]byte, 1))
	closed := r.Body.Close()
	_, after := r.Body.Read(make([]byte, 1))
	_, hasServer := r.Context().Value(http.ServerContextKey).(*http.Server)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	fmt.Fprintf(w, "%s %s %s %d.%d\n%#v\n%q %v %v %v\n", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, *r.URL, r.Host, r.Close, r.TLS == nil, r.Form)
	fmt.Fprintf(w, "%d %q %v %v %v %v\n%v\n", r.ContentLength, body, err, again, closed, errors.Is(after, http.ErrBodyReadAfterClose), r.TransferEncoding)
	_ = r.Header.Write(w)
	fmt.Fprintf(w, "%v %v %v %v\n", r.Trailer, hasServer, local != nil && local.Port != 0, strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"))
}
