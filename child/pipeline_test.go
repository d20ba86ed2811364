package child

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/tined/tined/child/web"
)

func sequenceOf(q *list) (seen []uint32) {
	for ex := q.first; ex != nil; ex = ex.next {
		seen = append(seen, ex.sequence)
	}
	return seen
}

func TestListReplace(t *testing.T) {
	for position := range 3 {
		t.Run(fmt.Sprint("position ", position), func(t *testing.T) {
			var q list
			exs := []*exchange{{sequence: 0}, {sequence: 1}, {sequence: 2}}
			for _, ex := range exs {
				q.push(ex)
			}
			substitute := &exchange{sequence: 10}
			if !q.replace(exs[position], substitute) {
				t.Fatal("not found")
			}
			want := []uint32{0, 1, 2}
			want[position] = 10
			if got := sequenceOf(&q); fmt.Sprint(got) != fmt.Sprint(want) || q.length != 3 {
				t.Fatalf("%v, length %d, want %v", got, q.length, want)
			}
			if exs[position].listed || exs[position].next != nil || !substitute.listed {
				t.Error("who is in the list is marked wrongly")
			}
			if q.replace(exs[position], &exchange{}) {
				t.Error("replaced what is not in the list")
			}
			q.push(&exchange{sequence: 11})
			for _, want := range append(want, 11) {
				if ex := q.pop(); ex.sequence != want || ex.next != nil || ex.listed {
					t.Fatalf("popped %d, want %d", ex.sequence, want)
				}
			}
			if q.pop() != nil || q.first != nil || q.last != nil || q.length != 0 {
				t.Error("an empty list is not empty")
			}
		})
	}
}

func TestPipelineAdmits(t *testing.T) {
	var p pipeline
	begin := func(safe bool) *exchange {
		ex := &exchange{safe: safe, state: BeingProcessed}
		p.begin(ex)
		return ex
	}
	if !p.admits(true) || !p.admits(false) {
		t.Fatal("an empty pipeline admits nothing")
	}
	begin(true)
	if !p.admits(true) || p.admits(false) {
		t.Fatal("beside a safe request only safe ones may run")
	}
	p.encoded()
	begin(false)
	if p.admits(true) || p.admits(false) {
		t.Fatal("beside an unsafe request none may run")
	}
	p.encoded()
	if p.unsafe != 0 || p.depth() != 0 || p.empty() || !p.admits(false) {
		t.Fatalf("after all were encoded: %+v", p)
	}
	if p.find(0) != nil {
		t.Fatal("found an exchange that is not pending")
	}
	third := begin(true)
	if p.find(third.sequence) != third {
		t.Fatal("a pending exchange was not found")
	}
}

const getX = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"

// A thousand requests written at once, of a client that reads nothing before it has written all: the answers come in order, and what
// the child holds of them stays bounded.
func TestThousandPipelined(t *testing.T) {
	for _, kind := range []string{"pooled", "inline", "large"} {
		t.Run(kind, func(t *testing.T) {
			size := 10
			if kind == "large" {
				size = 20 << 10
			}
			answer := func(w *web.Response, r *web.Request) {
				w.SendString(r.PathValue("n") + strings.Repeat(".", size))
			}
			var h web.Handler = web.HandlerFunc(answer)
			if kind == "inline" {
				h = nowHandler(answer)
			}
			tc := start(t, "", routes{"GET /{n}": h})
			tc.smallBuffers()
			p := tc.dialSmall()
			const count = 1000
			var requests strings.Builder
			for i := range count {
				fmt.Fprintf(&requests, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
			}
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(p.Conn, requests.String())
				written <- err
			}()
			for i := range count {
				if i%50 == 0 {
					tc.onLoop(func(l *loop) {
						c := only(l)
						if c == nil {
							return
						}
						if c.pipeline.depth() > 64 {
							t.Errorf("%d pending exchanges", c.pipeline.depth())
						}
						if held := c.out.unsent(); held > highWater+64*(20<<10) {
							t.Errorf("%d bytes are held unsent", held)
						}
						if cap(c.in) > 2*readChunk {
							t.Errorf("%d bytes of input are held", cap(c.in))
						}
						if c.out != nil && cap(c.out.tail) > 4*highWater {
							t.Errorf("a tail of %d bytes", cap(c.out.tail))
						}
					})
				}
				if r := p.answer("GET"); r.Status != 200 || string(r.Body) != fmt.Sprint(i)+strings.Repeat(".", size) {
					t.Fatalf("answer %d: %d %.20q", i, r.Status, r.Body)
				}
			}
			if err := await(t, "the requests", written); err != nil {
				t.Fatal(err)
			}
			tc.rests("after all")
			tc.onLoop(func(l *loop) {
				if l.numbers.begun != count || l.numbers.finished != count {
					t.Errorf("begun %d, finished %d", l.numbers.begun, l.numbers.finished)
				}
				if c := only(l); c.in != nil || c.out != nil || c.receiver != nil || c.current != nil {
					t.Error("an idle connection keeps buffers")
				}
			})
		})
	}
}

// Answers that wait behind a slow one are encoded when it is there, even when they are more than the high-water mark and all that was
// encoded before has left in one write.
func TestHighWaterDoesNotStrandAnswers(t *testing.T) {
	gate := make(chan struct{})
	large := make([]byte, 100<<10)
	var finished sync.WaitGroup
	const count = 40
	finished.Add(count - 1)
	tc := start(t, "", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
		"GET /x": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			w.SendBytes(large)
			finished.Done()
		}),
	})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat(getX, count-1))
	finished.Wait()
	tc.until("all but the first are finished", func(l *loop) bool {
		c := only(l)
		n := 0
		for ex := c.pipeline.head(); ex != nil; ex = ex.next {
			if ex.finished {
				n++
			}
		}
		c.transport = &greedy{}
		return n == count-1
	})
	close(gate)
	tc.until("everything has been sent", func(l *loop) bool { c := only(l); return c.pipeline.empty() && c.out == nil })
}

// greedy is a transport whose socket takes everything at once.
type greedy struct{ plain }

func (*greedy) flush(_ *conn, p []byte, _ bool) (int, error) { return len(p), nil }
func (*greedy) flushAll(_ *conn, pieces [][]byte) (n int, _ error) {
	for _, p := range pieces {
		n += len(p)
	}
	return n, nil
}

func TestPipelineDepthPausesReading(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "limits {\n  pipeline_depth = 3\n}\n", routes{"GET /x": web.StringFunc(func(*web.Request) string { <-gate; return "x" })})
	p := tc.dial()
	p.send(strings.Repeat(getX, 10))
	tc.until("three are pending", func(l *loop) bool { c := only(l); return c != nil && c.pipeline.depth() == 3 })
	p.send(strings.Repeat(getX, 10))
	tc.rests("while reading is paused")
	tc.onLoop(func(l *loop) {
		if c := only(l); c.pipeline.depth() != 3 || l.numbers.begun != 3 {
			t.Errorf("depth %d, begun %d", c.pipeline.depth(), l.numbers.begun)
		}
	})
	close(gate)
	for range 20 {
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatal(r.Status)
		}
	}
}

// A request with an unsafe method starts when all before it have been answered, and what follows it waits for it (RFC 9112, 9.3.2).
func TestUnsafeMethodsRunAlone(t *testing.T) {
	type arrival struct {
		name string
		go_  chan struct{}
	}
	arrived := make(chan arrival, 10)
	h := web.StringFunc(func(r *web.Request) string {
		a := arrival{r.PathValue("n"), make(chan struct{})}
		arrived <- a
		<-a.go_
		return a.name
	})
	tc := start(t, "", routes{"/{n}": h})
	p := tc.dial()
	p.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n" +
		"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" +
		"DELETE /d HTTP/1.1\r\nHost: x\r\n\r\n" +
		"GET /e HTTP/1.1\r\nHost: x\r\n\r\nGET /f HTTP/1.1\r\nHost: x\r\n\r\n")
	nobody := func(when string) {
		t.Helper()
		tc.rests(when)
		select {
		case a := <-arrived:
			t.Fatalf("%s started %s", a.name, when)
		default:
		}
	}
	pair := func() (gos [2]chan struct{}, names string) {
		for i := range gos {
			a := await(t, "a request", arrived)
			gos[i] = a.go_
			names += a.name
		}
		return gos, names
	}
	first, names := pair()
	if names != "ab" && names != "ba" {
		t.Fatal(names)
	}
	nobody("beside the first two")
	close(first[0])
	nobody("beside one of the first two")
	close(first[1])
	for _, name := range []string{"c", "d"} {
		a := await(t, name, arrived)
		if a.name != name {
			t.Fatalf("%s instead of %s", a.name, name)
		}
		nobody("beside " + name)
		close(a.go_)
	}
	last, names := pair()
	if names != "ef" && names != "fe" {
		t.Fatal(names)
	}
	close(last[0])
	close(last[1])
	for _, name := range "abcdef" {
		if r := p.answer("GET"); string(r.Body) != string(name) {
			t.Fatalf("answer %q, want %c", r.Body, name)
		}
	}
}

// Handlers on the loop and handlers on workers may be mixed.
func TestMixedHandlersKeepOrder(t *testing.T) {
	echo := func(w *web.Response, r *web.Request) { w.SendString(r.PathValue("n")) }
	tc := start(t, "", routes{"GET /now/{n}": nowHandler(echo), "GET /pool/{n}": web.HandlerFunc(echo)})
	p := tc.dial()
	var requests, want []string
	for i := range 300 {
		kind := "pool"
		if i%3 == 0 || i%7 == 0 {
			kind = "now"
		}
		n := fmt.Sprint("request-", i)
		want = append(want, n)
		requests = append(requests, "GET /"+kind+"/"+n+" HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	go io.WriteString(p.Conn, strings.Join(requests, ""))
	for _, n := range want {
		if r := p.answer("GET"); string(r.Body) != n {
			t.Fatalf("%q, want %q", r.Body, n)
		}
	}
}

func TestConnectionCloseEndsThePipeline(t *testing.T) {
	var ran sync.Map
	tc := start(t, "", routes{"GET /{n}": web.StringFunc(func(r *web.Request) string {
		ran.Store(r.PathValue("n"), true)
		return r.PathValue("n")
	})})
	p := tc.dial()
	p.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := p.answer("GET"); string(r.Body) != "a" || r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	if r := p.answer("GET"); string(r.Body) != "b" || !r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	p.halfClose()
	p.wantEnd()
	if _, ok := ran.Load("c"); ok {
		t.Error("a request behind the last one was served")
	}
	tc.wantClosed(reasonAnswered, 1)
}

// A handler's "Connection: close" stops further requests. Those behind it that have begun are answered, and the last of them closes: their
// handlers have run, so their clients must not be left to guess (RFC 9112, 9.6).
func TestHandlerClosesInMidPipeline(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{
		"GET /close": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			<-gate
			w.Header().Set("Connection", "close")
			w.SendString("bye")
		}),
		"GET /x": text("x"),
	})
	p := tc.dial()
	p.send(getX + "GET /close HTTP/1.1\r\nHost: x\r\n\r\n" + getX + getX)
	tc.until("all have begun", func(l *loop) bool { return l.numbers.begun == 4 })
	close(gate)
	p.answer("GET")
	for i, want := range []string{"bye", "x", "x"} {
		if r := p.answer("GET"); string(r.Body) != want || r.Close != (i == 2) {
			t.Fatalf("%q, close %v", r.Body, r.Close)
		}
	}
	p.halfClose()
	p.wantEnd()
	tc.wantClosed(reasonServerClose, 1)
}

// The answer of HTTP/1.0 may end with its connection: what is pipelined behind it is not begun before that is known.
func TestHTTP10IsNotPipelined(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{
		"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			<-gate
			w.WriteString("old")
			w.Flush()
		}),
		"GET /x": text("x"),
	})
	p := tc.dial()
	p.send("GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + getX)
	tc.until("the first has begun", func(l *loop) bool { return l.numbers.begun == 1 && len(only(l).in) == len(getX) })
	close(gate)
	if r := p.answer("GET"); string(r.Body) != "old" || !r.Close {
		t.Fatalf("%q, close %v", r.Body, r.Close)
	}
	p.wantEnd()
	tc.onLoop(func(l *loop) {
		if l.numbers.begun != 1 {
			t.Errorf("%d requests have begun", l.numbers.begun)
		}
	})
}

// What is malformed in request k is answered after the answers 1 to k-1, and closes.
func TestErrorInPipelineComesLast(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "", routes{"GET /x": web.StringFunc(func(*web.Request) string { <-gate; return "x" })})
	p := tc.dial()
	p.send(getX + getX + "GET /x HTTP/1.1\r\nHost: x\r\nbad name: y\r\n\r\n" + getX)
	tc.until("the bad one is refused", func(l *loop) bool { return l.numbers.begun == 3 })
	tc.rests("while the first are processed")
	close(gate)
	for range 2 {
		if r := p.answer("GET"); r.Status != 200 || r.Close {
			t.Fatalf("%d, close %v", r.Status, r.Close)
		}
	}
	if r := p.answer("GET"); r.Status != 400 || !r.Close {
		t.Fatalf("%d, close %v", r.Status, r.Close)
	}
	p.halfClose()
	p.wantEnd()
	tc.wantClosed(reasonRefused, 1)
}

// Half a head is waited for without a turn of the loop.
func TestPartialHeadDoesNotSpin(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	p := tc.dial()
	p.send("GET /x HTTP/1.1\r\nHos")
	tc.inState(WaitingForHead)
	tc.rests("with half a head")
	p.send("t: x\r\n\r\nGET /x HT")
	if r := p.answer("GET"); r.Status != 200 {
		t.Fatal(r.Status)
	}
	tc.rests("with half a head behind an answer")
	p.send("TP/1.1\r\nHost: x\r\n\r\n")
	p.answer("GET")
	tc.rests("when idle")
}
