package http1test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadAccepted(t *testing.T) {
	for _, c := range []struct {
		name, method, input string
		want                Response
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \t y \r\n\r\nhi",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: Fields{{"Content-Length", "2"}, {"X", "y"}}, Body: []byte("hi"), Framing: ContentLength}},
		{"length 0", "GET", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
			Response{Minor: 1, Status: 404, Reason: "Not Found", Fields: Fields{{"content-length", "0"}}, Framing: ContentLength}},
		{"empty reason", "GET", "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n",
			Response{Minor: 1, Status: 299, Fields: Fields{{"Content-Length", "0"}, {"Connection", "x, Close"}}, Framing: ContentLength, Close: true}},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: Fields{{"Content-Length", "2"}}, Framing: NoBody}},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: Fields{{"Transfer-Encoding", "chunked"}}, Framing: NoBody}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", Response{Minor: 1, Status: 204, Reason: "No Content", Framing: NoBody}},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
			Response{Minor: 1, Status: 304, Reason: "Not Modified", Fields: Fields{{"Content-Length", "9"}}, Framing: NoBody}},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: Fields{{"Transfer-Encoding", "Chunked"}}, Body: []byte("hi0123456789"),
				Trailers: Fields{{"X", "y"}}, Framing: Chunked, Chunks: []int{2, 10}}},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nhi\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Body: []byte("hi\r\n"), Framing: UntilClose, Close: true}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nh",
			Response{Status: 200, Reason: "OK", Fields: Fields{{"Content-Length", "1"}, {"Connection", "keep-alive"}}, Body: []byte("h"), Framing: ContentLength}},
		{"interim", "POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: Fields{{"Content-Length", "0"}}, Framing: ContentLength,
				Interim: []Interim{{100, nil}, {103, Fields{{"Link", "x"}}}}}},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
			Response{Minor: 1, Status: 101, Reason: "Switching Protocols", Fields: Fields{{"Upgrade", "x"}, {"Connection", "upgrade"}}, Framing: NoBody, Tunnel: true}},
		{"CONNECT", "CONNECT", "HTTP/1.1 200 OK\r\n\r\n", Response{Minor: 1, Status: 200, Reason: "OK", Framing: NoBody, Tunnel: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(c.input), iotest.OneByteReader(strings.NewReader(c.input))} {
				r := NewReader(in)
				got, err := r.Read(c.method)
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Body) == 0 {
					got.Body = nil
				}
				if !reflect.DeepEqual(*got, c.want) {
					t.Errorf("got  %+v\nwant %+v", *got, c.want)
				}
				if _, err := r.Read("GET"); err != io.EOF || r.Buffered() != 0 {
					t.Errorf("at the end: %v", err)
				}
			}
			if c.want.Framing == UntilClose {
				return
			}
			for cut := 1; cut < len(c.input); cut++ {
				if _, err := NewReader(strings.NewReader(c.input[:cut])).Read(c.method); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the first %d bytes: %v", cut, err)
				}
			}
		})
	}
}

func TestReadRefused(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ name, method, input string }{
		{"no space before the reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"},
		{"version", "GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"case of version", "GET", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"two spaces", "GET", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"status of letters", "GET", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"},
		{"status too small", "GET", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"},
		{"status too large", "GET", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"},
		{"NUL in reason", "GET", "HTTP/1.1 200 \x00\r\nContent-Length: 0\r\n\r\n"},
		{"empty line first", "GET", "\r\n" + ok + "Content-Length: 0\r\n\r\n"},
		{"status line ends in LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"},
		{"field ends in LF", "GET", ok + "Content-Length: 0\n\r\n"},
		{"head ends in LF", "GET", ok + "Content-Length: 0\r\n\n"},
		{"bare CR", "GET", ok + "X: a\rb\r\nContent-Length: 0\r\n\r\n"},
		{"CR CR LF", "GET", ok + "X: a\r\r\nContent-Length: 0\r\n\r\n"},
		{"space before colon", "GET", ok + "Content-Length : 0\r\n\r\n"},
		{"no colon", "GET", ok + "X\r\nContent-Length: 0\r\n\r\n"},
		{"obs-fold", "GET", ok + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"},
		{"NUL in value", "GET", ok + "X: \x00\r\nContent-Length: 0\r\n\r\n"},
		{"two lengths", "GET", ok + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"},
		{"signed length", "GET", ok + "Content-Length: +1\r\n\r\na"},
		{"empty length", "GET", ok + "Content-Length:\r\n\r\n"},
		{"length and coding", "GET", ok + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"other coding", "GET", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"two codings", "GET", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"coding in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"204 with length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"},
		{"204 with coding", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"100 with length", "GET", "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n"},
		{"CONNECT with length", "CONNECT", ok + "Content-Length: 0\r\n\r\n"},
		{"bad connection", "GET", ok + "Connection: close,\r\nContent-Length: 0\r\n\r\n"},
		{"chunk size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"},
		{"empty chunk size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n\r\n\r\n"},
		{"chunk extension", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0;a\r\n\r\n"},
		{"chunk too long", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"},
		{"huge chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab\r\n0\r\n\r\n"},
		{"bad trailer", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 0\r\n\r\n"},
		{"endless line", "GET", "HTTP/1.1 200 " + strings.Repeat("a", 100<<10)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := NewReader(strings.NewReader(c.input)).Read(c.method); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
}

// TestPipeline: one after the other from one stream, and what follows a tunnel.
func TestPipeline(t *testing.T) {
	r := NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 101 X\r\n\r\nrest"))
	for _, want := range []int{200, 204, 101} {
		if got, err := r.Read("GET"); err != nil || got.Status != want {
			t.Fatal(got, err)
		}
	}
	if rest, _ := io.ReadAll(r.Rest()); string(rest) != "rest" {
		t.Errorf("%q", rest)
	}
	r = NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789"))
	r.MaxBody = 8
	if _, err := r.Read("GET"); err == nil {
		t.Error("a body over MaxBody was accepted")
	}
}

func TestFields(t *testing.T) {
	f := Fields{{"A", "1"}, {"b", "2"}, {"a", "3"}}
	if f.Get("a") != "1" || f.Get("c") != "" || !f.Has("B") || f.Has("c") || !reflect.DeepEqual(f.All("A"), []string{"1", "3"}) {
		t.Error(f)
	}
}

// FuzzResponseReader: how the stream is cut does not matter, and net/http accepts what is accepted, with the same
// content.
func FuzzResponseReader(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nhi", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		whole := NewReader(bytes.NewReader(input))
		got, err := whole.Read(method)
		cut, errCut := NewReader(iotest.OneByteReader(bytes.NewReader(input))).Read(method)
		if !reflect.DeepEqual(got, cut) || (err == nil) != (errCut == nil) {
			t.Fatalf("%q: whole %+v, %v; cut %+v, %v", input, got, err, cut, errCut)
		}
		if err != nil || got.Tunnel {
			return
		}
		in := bufio.NewReader(bytes.NewReader(input))
		var res *http.Response
		for range len(got.Interim) + 1 {
			if res, err = http.ReadResponse(in, &http.Request{Method: method}); err != nil {
				t.Fatalf("%q: net/http says %v", input, err)
			}
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != got.Status || !bytes.Equal(body, got.Body) {
			t.Fatalf("%q: net/http reads %d, %q, %v", input, res.StatusCode, body, err)
		}
	})
}
