package child

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// readAll answers with the number of bytes of the body, and how reading it ended.
func readAll(w *web.Response, r *web.Request) {
	n, err := io.Copy(io.Discard, &r.Body)
	fmt.Fprintf(w, "%d %v", n, err)
}

// chunked encodes body in chunks of size bytes.
func chunked(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(len(body), size)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

func post(path, fields, body string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }

const isChunked = "Transfer-Encoding: chunked\r\n"

// Small bodies are there when the handler starts; large ones, and those of unknown length that become large, stream.
func TestBodyArrives(t *testing.T) {
	body := strings.Repeat("0123456789", 30_000)
	tc := start(t, "", routes{
		"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			b, err := r.Body.Bytes()
			if err != nil || string(b) != body[:len(b)] {
				web.Error(w, 500)
				return
			}
			fmt.Fprintf(w, "%d of %d", len(b), r.Body.Length())
		}),
		"POST /now": nowHandler(func(w *web.Response, r *web.Request) {
			b, err := r.Body.Bytes()
			fmt.Fprintf(w, "%d %v", len(b), err)
		}),
	})
	p := tc.dial()
	for _, size := range []int{0, 1, collectMax - 1, collectMax, collectMax + 1, len(body)} {
		for _, piece := range []int{7, 1000, 1 << 20} {
			if piece == 7 && size > 10_000 {
				continue
			}
			p.send(post("/read", isChunked, chunked(body[:size], piece)))
			if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d of -1", size) {
				t.Fatalf("chunked, %d by %d: %d %q", size, piece, r.Status, r.Body)
			}
		}
		p.send(post("/read", length(size), body[:size]))
		if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d of %d", size, size) {
			t.Fatalf("%d: %d %q", size, r.Status, r.Body)
		}
		p.send(post("/now", length(size), body[:size]))
		if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", size) {
			t.Fatalf("inline, %d: %d %q", size, r.Status, r.Body)
		}
	}
	tc.rests("after all")
}

// A body byte by byte, with the next request directly behind it.
func TestBodyInPieces(t *testing.T) {
	tc := start(t, "", routes{"POST /read": web.HandlerFunc(readAll)})
	for _, message := range []string{
		post("/read", length(5), "hello"),
		post("/read", isChunked, "2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: yes\r\n\r\n"),
	} {
		p := tc.dial()
		for _, b := range []byte(message + message) {
			p.send(string(b))
		}
		for range 2 {
			if r := p.answer("POST"); string(r.Body) != "5 <nil>" {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
		}
	}
}

func TestTrailers(t *testing.T) {
	for name, size := range map[string]int{"collected": 10, "streamed": 3 * collectMax} {
		t.Run(name, func(t *testing.T) {
			tc := start(t, "", routes{"POST /t": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				if _, err := io.Copy(io.Discard, &r.Body); err != nil {
					web.Error(w, 500)
					return
				}
				w.WriteString(r.Body.Trailer().Get("X-Sum") + r.Header.Get("X-Sum"))
			})})
			p := tc.dial()
			body := chunked(strings.Repeat("x", size), 5000)
			p.send(post("/t", isChunked, strings.TrimSuffix(body, "\r\n")+"X-Sum: 42\r\n\r\n"))
			if r := p.answer("POST"); string(r.Body) != "42" {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
		})
	}
}

// A handler that does not read stops the client: what is taken from the socket stays bounded, and goes on when it reads.
func TestUnreadBodyStopsTheClient(t *testing.T) {
	for _, framing := range []string{"length", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			const size = 8 << 20
			begun, gate := make(chan struct{}), make(chan struct{})
			tc := start(t, "", routes{"POST /b": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				close(begun)
				<-gate
				readAll(w, r)
			})})
			tc.smallBuffers()
			p := tc.dial()
			go func() {
				if framing == "length" {
					io.WriteString(p.Conn, post("/b", length(size), strings.Repeat("b", size)))
				} else {
					io.WriteString(p.Conn, post("/b", isChunked, chunked(strings.Repeat("b", size), 9000)))
				}
			}()
			await(t, "the handler", begun)
			tc.until("reading has paused", func(l *loop) bool {
				c := only(l)
				return c.receiver != nil && c.receiver.flow != nil && c.receiver.flow.full()
			})
			tc.rests("while the handler does not read")
			tc.onLoop(func(l *loop) {
				c := only(l)
				if c.received > 4*(readChunk+inflowWindow) {
					t.Errorf("%d bytes were taken", c.received)
				}
				if n := cap(c.in) + cap(c.receiver.flow.buf); n > 8*inflowWindow {
					t.Errorf("%d bytes are held", n)
				}
			})
			close(gate)
			if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", size) {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
			tc.rests("after all")
		})
	}
}

// A handler that answers without reading: a small rest is dropped and the connection goes on; a large one ends it, with a lingering
// close, so that the client can read the answer whatever it is still sending.
func TestAnswerWithoutReading(t *testing.T) {
	const small, large = collectMax + 1000, discardMax + 2*collectMax
	tests := []struct {
		name, request string
		body          string
		goesOn        bool
		why           closeReason
	}{
		{"small rest", post("/no", length(small), ""), strings.Repeat("b", small), true, reasonNone},
		{"large rest", post("/no", length(large), ""), strings.Repeat("b", large), false, reasonBodyUnread},
		{"small chunked rest", post("/no", isChunked, chunked(strings.Repeat("b", collectMax+1000), 1000)[:66_500]),
			chunked(strings.Repeat("b", collectMax+1000), 1000)[66_500:], true, reasonNone},
		{"large chunked rest", post("/no", isChunked, ""), chunked(strings.Repeat("b", 4*large), 1000), false, reasonBodyUnread},
		{"no route, small", post("/nowhere", length(small), ""), strings.Repeat("b", small), true, reasonNone},
		{"no route, large", post("/nowhere", length(large), ""), strings.Repeat("b", large), false, reasonBodyUnread},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tc := start(t, "", routes{"POST /no": text("no"), "GET /x": text("x")})
			p := tc.dial()
			if strings.Contains(test.name, "large") {
				p.send(test.request)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					io.WriteString(p.Conn, test.body) // an error is no failure: the server may have closed
				}()
				r := p.answer("POST")
				if want := map[bool]int{true: 404, false: 200}[strings.HasPrefix(test.name, "no route")]; r.Status != want {
					t.Fatalf("%d %q", r.Status, r.Body)
				}
				await(t, "the rest of the body", sent)
				p.wantEnd()
				p.Conn.Close()
				tc.wantClosed(test.why, 1)
				return
			}
			p.send(test.request)
			p.send(test.body)
			r := p.answer("POST")
			if want := map[bool]int{true: 404, false: 200}[strings.HasPrefix(test.name, "no route")]; r.Status != want || r.Close {
				t.Fatalf("%d, close %v", r.Status, r.Close)
			}
			if r := p.get("/x"); string(r.Body) != "x" {
				t.Fatalf("%q", r.Body)
			}
			tc.rests("after all")
		})
	}
}

// The answer to an earlier request does not close the connection because a later one's body is unread, which would lose an answer.
func TestUnreadBodyOfALaterRequest(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
		"GET /no":   text("no"),
	})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /no HTTP/1.1\r\nHost: x\r\n" + length(10<<20) + "\r\n")
	tc.until("the second has finished", func(l *loop) bool {
		c := only(l)
		return c != nil && c.pipeline.depth() == 2 && c.pipeline.pending.last.finished
	})
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "slow" || r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	if r := p.answer("GET"); string(r.Body) != "no" || !r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
}

// "100 Continue" is sent when the handler reads, not before, and not at all when it answers at once (RFC 9110, 10.1.1).
func TestExpectContinue(t *testing.T) {
	const expect = "Expect: 100-continue\r\n"
	started, gate := make(chan struct{}, 10), make(chan struct{})
	tc := start(t, "", routes{
		"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			started <- struct{}{}
			<-gate
			readAll(w, r)
		}),
		"POST /no":    text("no"),
		"POST /now":   nowHandler(func(w *web.Response, r *web.Request) { w.SendString("now") }),
		"POST /first": web.HandlerFunc(readAll),
		"GET /slow":   web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
	})
	t.Run("handler reads", func(t *testing.T) {
		for _, n := range []int{5, 3 * collectMax} {
			p := tc.dial()
			p.send(post("/read", expect+length(n), ""))
			await(t, "the handler", started)
			tc.rests("before the handler reads")
			tc.onLoop(func(l *loop) {
				for c := range l.table.All() {
					if c.queued != 0 {
						t.Error("100 Continue was sent before the handler reads")
					}
				}
			})
			gate <- struct{}{}
			if line, err := p.raw.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			p.raw.ReadString('\n')
			p.send(strings.Repeat("b", n))
			if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", n) || r.Close || len(r.Interim) != 0 {
				t.Fatalf("%d %q, close %v", r.Status, r.Body, r.Close)
			}
			p.Conn.Close()
			tc.until("it is gone", func(l *loop) bool { return l.table.Len() == 0 })
		}
	})
	for _, path := range []string{"/no", "/now", "/nowhere"} {
		t.Run(path+" answers at once", func(t *testing.T) {
			p := tc.dial()
			p.send(post(path, expect+length(5), ""))
			r := p.answer("POST")
			if len(r.Interim) != 0 || !r.Close || r.Status != map[bool]int{true: 404, false: 200}[path == "/nowhere"] {
				t.Fatalf("%d, interim %v, close %v", r.Status, r.Interim, r.Close)
			}
			p.send("hello") // it may have been on its way: the lingering close takes it
			p.wantEnd()
			p.Conn.Close()
			tc.until("it is gone", func(l *loop) bool { return l.table.Len() == 0 })
		})
	}
	t.Run("body comes unasked", func(t *testing.T) {
		p := tc.dial()
		p.send(post("/first", expect+length(5), "hello"))
		r := p.answer("POST")
		if string(r.Body) != "5 <nil>" || r.Close {
			t.Fatalf("%q, close %v", r.Body, r.Close)
		}
		p.Conn.Close()
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		p := tc.dial()
		p.send("POST /first HTTP/1.0\r\nHost: x\r\n" + expect + length(5) + "\r\nhello")
		if r := p.answer("POST"); string(r.Body) != "5 <nil>" || len(r.Interim) != 0 {
			t.Fatalf("%q, interim %v", r.Body, r.Interim)
		}
	})
	t.Run("behind an earlier answer", func(t *testing.T) {
		p := tc.dial()
		p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + post("/first", expect+length(5), ""))
		tc.rests("while the first is processed")
		gate <- struct{}{}
		if r := p.answer("GET"); string(r.Body) != "slow" || len(r.Interim) != 0 {
			t.Fatalf("%q, interim %v", r.Body, r.Interim)
		}
		p.send("hello")
		if r := p.answer("POST"); string(r.Body) != "5 <nil>" || len(r.Interim) > 1 {
			t.Fatalf("%q, interim %v", r.Body, r.Interim)
		}
	})
}

// limits.body holds for announced and for chunked bodies; the client gets a 413 though it goes on sending.
func TestBodyTooLarge(t *testing.T) {
	const limit = 100_000
	saw := make(chan error, 10)
	tc := start(t, fmt.Sprintf("limits {\n  body = %d\n}\n", limit), routes{"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		n, err := io.Copy(io.Discard, &r.Body)
		if err != nil {
			saw <- err
		}
		fmt.Fprint(w, n)
	})})
	for _, test := range []struct {
		name, request string
		status        int
		seen          bool
	}{
		{"announced, exact", post("/read", length(limit), strings.Repeat("b", limit)), 200, false},
		{"announced, over", post("/read", length(limit+1), strings.Repeat("b", limit+1)), 413, false},
		{"announced, far over", post("/read", length(1<<60), strings.Repeat("b", 2<<20)), 413, false},
		{"announced, over, expecting", post("/read", "Expect: 100-continue\r\n"+length(limit+1), ""), 413, false},
		{"chunked, exact", post("/read", isChunked, chunked(strings.Repeat("b", limit), 7000)), 200, false},
		{"chunked, over", post("/read", isChunked, chunked(strings.Repeat("b", limit+1), 7000)), 413, true},
		{"chunked, far over", post("/read", isChunked, chunked(strings.Repeat("b", 2<<20), 7000)), 413, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := tc.dial()
			go io.WriteString(p.Conn, test.request)
			r := p.answer("POST")
			if r.Status != test.status || r.Close != (test.status == 413) {
				t.Fatalf("%d, close %v", r.Status, r.Close)
			}
			if test.seen && r.Status == 413 {
				select {
				case err := <-saw: // if it has run at all
					if !errors.Is(err, web.ErrBodyTooLarge) {
						t.Errorf("the handler saw %v", err)
					}
				default:
				}
			}
			if r.Close {
				p.wantEnd()
			}
			p.Conn.Close()
		})
	}
	// Collected chunked bodies meet the limit before any handler runs.
	tc = start(t, "limits {\n  body = 10\n}\n", routes{"POST /read": web.HandlerFunc(readAll)})
	p := tc.dial()
	p.send(post("/read", isChunked, "6\r\n123456\r\n5\r\n12345\r\n0\r\n\r\n"))
	if r := p.answer("POST"); r.Status != 413 || !r.Close {
		t.Fatalf("%d, close %v", r.Status, r.Close)
	}
	p.halfClose()
	p.wantEnd()
	tc.wantClosed(reasonRefused, 1)
}

// A body that breaks off in the middle, in each way: the handler gets an error, the client an answer.
func TestBrokenBodies(t *testing.T) {
	const limits = "limits {\n  body_timeout = \"100ms\"\n  body_rate = 100000\n}\n"
	for _, streamed := range []bool{false, true} {
		for _, begun := range []bool{false, true} { // the response
			for _, test := range []struct {
				name   string
				broken func(p *peer)
				status int
				why    closeReason
			}{
				{"malformed chunk", func(p *peer) { p.send("zz\r\n"); p.halfClose() }, 400, reasonRefused},
				{"end", func(p *peer) { p.halfClose() }, 400, reasonClientGone},
				{"silence", func(p *peer) {}, 408, reasonBodyTimeout},
				{"reset", func(p *peer) { p.reset() }, 0, reasonClientGone},
			} {
				if begun && !streamed {
					continue
				}
				t.Run(fmt.Sprintf("%s, streamed %v, response begun %v", test.name, streamed, begun), func(t *testing.T) {
					t.Parallel()
					running, saw := make(chan struct{}, 1), make(chan error, 1)
					tc := start(t, limits, routes{"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
						if begun {
							io.WriteString(w, "begun")
							w.Flush()
						}
						running <- struct{}{}
						_, err := io.Copy(io.Discard, &r.Body)
						saw <- err
						io.WriteString(w, "answer")
					})})
					p := tc.dial()
					n := 10
					if streamed {
						n = 2 * collectMax
					}
					p.send(post("/read", isChunked, strings.TrimSuffix(chunked(strings.Repeat("b", n), 5000), "0\r\n\r\n")))
					tc.until("what was sent has arrived", func(l *loop) bool {
						c := only(l)
						return c != nil && c.receiver != nil && c.receiver.got == int64(n) && (!begun || c.pipeline.head().begun)
					})
					if streamed {
						await(t, "the handler's start", running)
					}
					test.broken(p)
					if test.status > 0 {
						want := test.status
						if begun {
							want = 200
						}
						r := p.answer("POST")
						if r.Status != want || r.Close == begun {
							t.Errorf("%d, close %v", r.Status, r.Close)
						}
						p.wantEnd()
						p.Conn.Close()
					}
					if streamed {
						if err := await(t, "the handler", saw); err == nil {
							t.Error("the handler saw no error")
						}
					}
					tc.wantClosed(test.why, 1)
				})
			}
		}
	}
}

// A body that comes slowly, but not too slowly, goes on for many periods.
func TestSlowBodyWithinItsRate(t *testing.T) {
	tc := start(t, "limits {\n  body_timeout = \"50ms\"\n  body_rate = 1\n}\n", routes{"POST /read": web.HandlerFunc(readAll)})
	p := tc.dial()
	const periods = 6
	p.send(post("/read", length(periods), ""))
	for range periods {
		var mark uint64
		tc.onLoop(func(l *loop) {
			if c := only(l); c != nil {
				mark = c.mark
			}
		})
		p.send("b")
		tc.until("a period has passed", func(l *loop) bool { c := only(l); return c == nil || c.mark != mark || c.receiver == nil })
	}
	if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", periods) {
		t.Fatalf("%d %q", r.Status, r.Body)
	}
}

// A handler that takes its time before it reads is not its client's fault, if the client waits for "100 Continue".
func TestExpectingClientIsNotTimedOut(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "limits {\n  body_timeout = \"20ms\"\n}\n", routes{"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		<-gate
		readAll(w, r)
	})})
	p := tc.dial()
	p.send(post("/read", "Expect: 100-continue\r\n"+length(5), ""))
	tc.inState(BeingProcessed)
	var from int64
	tc.onLoop(func(l *loop) { from = l.now })
	tc.until("several periods pass", func(l *loop) bool { return l.now-from > 4*wheelTick })
	close(gate)
	if line, _ := p.raw.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q", line)
	}
}

// The time that a client needs for its body is not the handler's.
func TestHandlerTimeBeginsBehindTheBody(t *testing.T) {
	for name, size := range map[string]int{"collected": 100, "streamed": 2 * collectMax} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			tc := start(t, "limits {\n  handler_timeout = \"150ms\"\n}\n", routes{"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
				readAll(w, r)
				<-gate
			})})
			p := tc.dial()
			p.send(post("/read", length(size), strings.Repeat("b", size-1)))
			var from int64
			tc.onLoop(func(l *loop) { from = l.now })
			tc.until("more than the handler's time has passed", func(l *loop) bool { return l.now-from > 6*wheelTick })
			p.send("b")
			tc.until("the body is whole", func(l *loop) bool { c := only(l); return c == nil || c.receiver == nil })
			tc.onLoop(func(l *loop) { from = l.now })
			tc.until("a tick has passed", func(l *loop) bool { return l.now-from > wheelTick })
			close(gate)
			if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", size) {
				t.Fatalf("%d %q", r.Status, r.Body)
			}
		})
	}
}

// The end of the client's side is not read before the bytes in front of it are processed, also when the handler makes room at a moment at
// which the loop has not heard of it.
func TestEndIsReadBehindTheBody(t *testing.T) {
	gate, read := make(chan int), make(chan struct{})
	tc := start(t, "", routes{"POST /read": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		for n := range gate {
			io.CopyN(io.Discard, &r.Body, int64(n))
			read <- struct{}{}
		}
		readAll(w, r)
	})})
	const size = inflowWindow + 30_000
	p := tc.dial()
	p.send(post("/read", length(size), strings.Repeat("b", size)))
	p.halfClose()
	tc.until("all was taken from the socket but its end", func(l *loop) bool {
		c := only(l)
		return c != nil && c.received > size && c.has(flagEnd) && len(c.in) > 0 && c.receiver.flow.full()
	})
	tc.onLoop(func(l *loop) {
		gate <- 40_000
		<-read
		l.turn(only(l))
	})
	close(gate)
	if r := p.answer("POST"); string(r.Body) != fmt.Sprintf("%d <nil>", size-40_000) {
		t.Fatalf("%d %q", r.Status, r.Body)
	}
}
