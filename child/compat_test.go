package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
)

// What adapted handlers do with a connection: deadlines, files, bodies, hijacking.

func adapted(f func(w http.ResponseWriter, r *http.Request)) web.Handler {
	return web.HTTP(http.HandlerFunc(f))
}

// url returns the URL of a path of the child.
func (tc *testChild) url(path string) string { return "http://" + tc.address + path }

// client returns an HTTP client whose connections end with the test.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// fetch does a request and returns the response with its whole body.
func fetch(t testing.TB, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		q.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v behind %d bytes", url, err, len(all))
	}
	return resp, string(all)
}

func TestAdaptedDeadlines(t *testing.T) {
	type outcome struct {
		set, err error
	}
	got := make(chan outcome, 1)
	tc := start(t, "", routes{
		"/read": adapted(func(w http.ResponseWriter, r *http.Request) {
			set := http.NewResponseController(w).SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := io.ReadAll(r.Body)
			got <- outcome{set, err}
			w.WriteHeader(408)
		}),
		"/write": adapted(func(w http.ResponseWriter, r *http.Request) {
			set := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			var err error
			for piece := make([]byte, 64<<10); err == nil; {
				_, err = w.Write(piece)
			}
			got <- outcome{set, err}
		}),
	})
	p := tc.dial()
	p.send("POST /read HTTP/1.1\r\nHost: x\r\n" + length(100_000) + "\r\nbegin")
	if o := await(t, "the reader", got); o.set != nil || !errors.Is(o.err, os.ErrDeadlineExceeded) {
		t.Errorf("SetReadDeadline %v, Read %v", o.set, o.err)
	}
	if r := p.answer("POST"); r.Status != 408 || !r.Close {
		t.Errorf("%d, close %v", r.Status, r.Close)
	}
	tc.smallBuffers()
	slow := tc.dialSmall()
	slow.send("GET /write HTTP/1.1\r\nHost: x\r\n\r\n")
	if o := await(t, "the writer", got); o.set != nil || !errors.Is(o.err, os.ErrDeadlineExceeded) {
		t.Errorf("SetWriteDeadline %v, Write %v", o.set, o.err)
	}
}

// A file is sent by the loop when its handler has returned, though that has closed and removed it.
func TestAdaptedFileGoesBySendfile(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 256<<10)
	name := filepath.Join(t.TempDir(), "f")
	returned := make(chan struct{})
	tc := start(t, "", routes{"/": adapted(func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
		http.ServeFile(w, r, name)
		os.Remove(name)
	})})
	tc.smallBuffers()
	p := tc.dialSmall()
	p.send("GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=16-\r\n\r\n")
	await(t, "the handler", returned)
	tc.until("the file waits for the client", func(l *loop) bool {
		c := only(l)
		return c != nil && c.out != nil && c.out.first < len(c.out.segments) && c.out.segments[c.out.first].file != nil
	})
	if r := p.answer("GET"); r.Status != 206 || string(r.Body) != content[16:] {
		t.Fatalf("%d, %d bytes", r.Status, len(r.Body))
	}
}

// Whatever surrounds the copying of a file, the client gets what was written, in order.
func TestAdaptedFileInPieces(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 16<<10)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	size := int64(len(content))
	for _, c := range []struct {
		name    string
		serve   func(w http.ResponseWriter, f *os.File)
		body    string
		trailer string
		cut     bool
	}{
		{"whole", func(w http.ResponseWriter, f *os.File) { io.Copy(w, f) }, content, "", false},
		{"part", func(w http.ResponseWriter, f *os.File) {
			f.Seek(5, io.SeekStart)
			if n, err := io.CopyN(w, f, size-10); n != size-10 || err != nil {
				t.Error(n, err)
			}
			if at, _ := f.Seek(0, io.SeekCurrent); at != size-5 {
				t.Errorf("the file is at %d", at)
			}
		}, content[5 : size-5], "", false},
		{"more than there is", func(w http.ResponseWriter, f *os.File) {
			if n, err := io.CopyN(w, f, size+1); n != size || err != io.EOF {
				t.Error(n, err)
			}
		}, content, "", false},
		{"in two", func(w http.ResponseWriter, f *os.File) { io.CopyN(w, f, size/2); io.Copy(w, f) }, content, "", false},
		{"written before", func(w http.ResponseWriter, f *os.File) { io.WriteString(w, "a"); io.Copy(w, f) }, "a" + content, "", false},
		{"written after", func(w http.ResponseWriter, f *os.File) { io.Copy(w, f); io.WriteString(w, "z") }, content + "z", "", false},
		{"flushed before", func(w http.ResponseWriter, f *os.File) { w.(http.Flusher).Flush(); io.Copy(w, f) }, content, "", false},
		{"flushed after", func(w http.ResponseWriter, f *os.File) { io.Copy(w, f); w.(http.Flusher).Flush() }, content, "", false},
		{"declared", func(w http.ResponseWriter, f *os.File) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			io.Copy(w, f)
		}, content, "", false},
		{"declared, less", func(w http.ResponseWriter, f *os.File) {
			w.Header().Set("Content-Length", fmt.Sprint(size+1))
			io.Copy(w, f)
		}, "", "", true},
		{"declared, more", func(w http.ResponseWriter, f *os.File) {
			w.Header().Set("Content-Length", "40000")
			if _, err := io.Copy(w, f); !errors.Is(err, http.ErrContentLength) {
				t.Error(err)
			}
		}, content[:32<<10], "", true},
		{"trailer", func(w http.ResponseWriter, f *os.File) {
			w.Header().Set("Trailer", "X-Sum")
			io.Copy(w, f)
			w.Header().Set("X-Sum", "1")
		}, content, "1", false},
		{"late trailer", func(w http.ResponseWriter, f *os.File) {
			io.Copy(w, f)
			w.Header().Set(http.TrailerPrefix+"X-Sum", "2")
		}, content, "2", false},
		{"no content allowed", func(w http.ResponseWriter, f *os.File) {
			w.WriteHeader(204)
			if _, err := io.Copy(w, f); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Error(err)
			}
		}, "", "", false},
		{"abort", func(w http.ResponseWriter, f *os.File) { io.Copy(w, f); panic(http.ErrAbortHandler) }, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tc := start(t, "", routes{"/": adapted(func(w http.ResponseWriter, r *http.Request) {
				f, err := os.Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				c.serve(w, f)
			})})
			resp, err := client(t).Get(tc.url("/"))
			var body []byte
			if err == nil {
				defer resp.Body.Close()
				body, err = io.ReadAll(resp.Body)
			}
			if c.cut {
				if err == nil {
					t.Errorf("%d bytes look whole", len(body))
				}
				return
			}
			if err != nil || string(body) != c.body || resp.Trailer.Get("X-Sum") != c.trailer {
				t.Errorf("%v, %d bytes, trailer %v; want %d", err, len(body), resp.Trailer, len(c.body))
			}
		})
	}
}

// A body may be read in one goroutine while another writes, and its Close ends a Read that waits for the client.
func TestAdaptedBodyInTwoGoroutines(t *testing.T) {
	ended := make(chan error, 1)
	tc := start(t, "", routes{
		"/echo": adapted(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			pipe, into := io.Pipe()
			go func() {
				_, err := io.Copy(into, r.Body)
				into.CloseWithError(err)
			}()
			buf := make([]byte, 1000)
			for {
				n, err := pipe.Read(buf)
				w.Write(buf[:n])
				w.(http.Flusher).Flush()
				if err != nil {
					return
				}
			}
		}),
		"/leave": adapted(func(w http.ResponseWriter, r *http.Request) {
			reading := make(chan struct{})
			go func() {
				r.Body.Read(make([]byte, 5))
				close(reading)
				_, err := r.Body.Read(make([]byte, 1))
				ended <- err
			}()
			<-reading
			io.WriteString(w, "early")
		}),
	})
	p := tc.dial()
	p.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		for range 50 {
			io.WriteString(p.Conn, "3e8\r\n"+strings.Repeat("x", 1000)+"\r\n")
		}
		io.WriteString(p.Conn, "0\r\n\r\n")
	}()
	if r := p.answer("POST"); len(r.Body) != 50_000 {
		t.Errorf("%d bytes came back", len(r.Body))
	}
	p = tc.dial()
	p.send("POST /leave HTTP/1.1\r\nHost: x\r\n" + length(100_000) + "\r\nhello")
	if r := p.answer("POST"); string(r.Body) != "early" {
		t.Errorf("%q", r.Body)
	}
	if err := await(t, "the Read that was left behind", ended); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Error(err)
	}
}

// Hijack in all its orders: before and after WriteHeader, with bytes behind the request, and where it is refused.
func TestAdaptedHijack(t *testing.T) {
	refused := make(chan error, 1)
	hijack := func(w http.ResponseWriter, then func(conn net.Conn, rw *bufio.ReadWriter)) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			refused <- err
			return
		}
		defer conn.Close()
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("Write: %v", err)
		}
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("a second Hijack: %v", err)
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		then(conn, rw)
	}
	echo := func(conn net.Conn, rw *bufio.ReadWriter) {
		buf := make([]byte, 5)
		io.ReadFull(rw, buf)
		fmt.Fprintf(rw, "you said %s", buf)
		rw.Flush()
	}
	tc := start(t, "", routes{
		"/raw": adapted(func(w http.ResponseWriter, r *http.Request) { hijack(w, echo) }),
		"/switch": adapted(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Upgrade", "echo")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(101)
			w.(http.Flusher).Flush()
			hijack(w, echo)
		}),
		"/body": adapted(func(w http.ResponseWriter, r *http.Request) { io.ReadAll(r.Body); hijack(w, echo) }),
		"/late": adapted(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			hijack(w, echo)
		}),
		"/written": adapted(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x"); hijack(w, echo) }),
	})
	for _, c := range []struct{ name, request, want string }{
		{"raw", "GET /raw HTTP/1.1\r\nHost: x\r\n\r\nhello", "you said hello"},
		{"switch", "GET /switch HTTP/1.1\r\nHost: x\r\n\r\nhello", "HTTP/1.1 101 Switching Protocols\r\nDate: D\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nyou said hello"},
		{"body", "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabhello", "you said hello"},
	} {
		p := tc.dial()
		p.send(c.request)
		all, err := io.ReadAll(p.raw)
		got := string(all)
		if before, rest, ok := strings.Cut(got, "Date: "); ok {
			_, rest, _ = strings.Cut(rest, "\r\n")
			got = before + "Date: D\r\n" + rest
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, path := range []string{"/late", "/written"} {
		p := tc.dial()
		p.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		p.answer("GET")
		if err := await(t, path, refused); err == nil {
			t.Errorf("%s: hijacked", path)
		}
	}
}

// The context ends with the client, and with the handler.
func TestAdaptedContext(t *testing.T) {
	running, ended := make(chan context.Context, 1), make(chan error, 1)
	tc := start(t, "", routes{
		"/wait": adapted(func(w http.ResponseWriter, r *http.Request) {
			running <- r.Context()
			<-r.Context().Done()
			ended <- r.Context().Err()
		}),
		"/return": adapted(func(w http.ResponseWriter, r *http.Request) { running <- r.Context() }),
	})
	p := tc.dial()
	p.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the handler", running)
	p.reset()
	if err := await(t, "the end of the context", ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	tc.dial().get("/return")
	ctx := await(t, "the handler", running)
	<-ctx.Done()
	if ctx.Value(http.LocalAddrContextKey).(net.Addr).String() != tc.address {
		t.Error("the address changes when the handler has returned")
	}
}
