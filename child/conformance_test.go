package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

// A conformance case is what one client sends on one connection, and what must come back. The cases are written from the RFCs; the
// RFC's section stands in the name. Every case is sent whole, byte by byte, and split at random places, and must give the same. One
// that must end in a close is sent with another request behind it, too, which must never be served.
type conformance struct {
	name string // "RFC section: what"
	send string
	// want are the answers in order, each "[METHOD:]STATUS[|STATUS…]" (the method, when it is not GET, tells how the answer's end is
	// found), and then how the connection stands: "open" (a further request is served), "close" (it ends after the last answer, without
	// a reset), "over" (the same, by a decision that falls after the head: what was sent behind may have been begun, but is not
	// answered), or "eof" (the client ends its side after sending, and the server closes after the last answer).
	want  string
	check func(answers []*http1test.Response) error // further demands, nil: none
}

// smuggled is a request that must never be served: it follows what ends a connection, or hides in a body.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// conformanceBody is limits.body of the cases.
const conformanceBody = 256 << 10

// conformanceChild serves the cases and counts the smuggled requests.
func conformanceChild(t *testing.T) (tc *testChild, served *atomic.Int64) {
	served = new(atomic.Int64)
	// echo answers with what it has understood of the request.
	echo := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		body, err := r.Body.Bytes()
		if err != nil {
			web.Error(w, 400)
			return
		}
		fmt.Fprintf(w, "%s %s host=%s query=%s body=%s", r.Method, r.RawPath, r.Host, r.RawQuery, body)
		for name, value := range r.Body.Trailer().All() {
			fmt.Fprintf(w, " trailer=%s:%s", name, value)
		}
		for name, value := range r.Header.All() {
			if strings.EqualFold(name, "X") {
				fmt.Fprintf(w, " X=%s", value)
			}
		}
	})
	status := func(code int) web.Handler {
		return web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.SetStatus(code)
			w.SendString("content\n") // which HTTP forbids for some codes
		})
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	handlers := routes{
		"/smuggled": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			served.Add(1)
			w.SendString("smuggled\n")
		}),
		"GET /fast":   fast{},
		"/status/204": status(204),
		"/status/205": status(205),
		"/status/304": status(304),
		"/status/404": status(404),
		"/status/599": status(599),
		"GET /large":  web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SendBytes(big) }),
		"GET /stream": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.WriteString("one ")
			w.Flush()
			w.WriteString("two")
		}),
		"GET /reader":  web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SendReader(strings.NewReader("from a reader"), -1) }),
		"GET /sized":   web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SendReader(strings.NewReader("from a reader"), 13) }),
		"GET /nothing": web.HandlerFunc(func(*web.Response, *web.Request) {}),
		"POST /ignore": text("ignored"),
		"GET /panic":   web.HandlerFunc(func(*web.Response, *web.Request) { panic("a handler's mistake") }),
		"GET /close": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			w.Header().Set("Connection", "x, Close")
			w.SendString("closed by the handler")
		}),
		"GET /split": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			h := w.Header()
			h.Add("X-Good", "good")
			h.Add("X-Split", "a\r\nX-Injected: b")
			h.Add("X-LF", "a\nX-Injected: b")
			h.Add("X-CR", "a\rX-Injected: b")
			h.Add("X-NUL", "a\x00b")
			h.Add("X-End", "a\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: b\r\n\r\n")
			h.Add("X-Name\r\nX-Injected", "b")
			h.Add("X Name", "b")
			h.Add("X-Name:", "b")
			h.Add("", "b")
			w.SendString("whole")
		}),
		"GET /servers": web.HandlerFunc(func(w *web.Response, _ *web.Request) { // sets what only the server may set
			h := w.Header()
			h.Add("Content-Length", "3")
			h.Add("Content-Length", "7")
			h.Add("Transfer-Encoding", "chunked")
			h.Add("transfer-encoding", "gzip")
			h.Add("Date", "yesterday")
			h.Add("Connection", "keep-alive")
			h.Add("Keep-Alive", "timeout=5")
			h.Add("Server", "mine")
			w.SendString("content")
		}),
		"GET /servers/stream": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			h := w.Header()
			h.Add("Transfer-Encoding", "gzip")
			h.Add("Date", "yesterday")
			h.Add("Server", "mine")
			w.WriteString("content")
			w.Flush()
		}),
	}
	// The echo is everywhere but with DELETE and OPTIONS, so that paths with other methods have something to refuse.
	for _, method := range []string{"GET", "POST", "PUT", "PATCH"} {
		handlers[method+" /"] = echo
	}
	handlers["DELETE /{$}"], handlers["OPTIONS /{$}"], handlers["LINK /linked"] = echo, echo, echo
	tc = start(t, fmt.Sprintf("limits {\n body = %d\n}\n", conformanceBody), handlers)
	return tc, served
}

// fast answers on the loop.
type fast struct{}

func (fast) Serve(w *web.Response, _ *web.Request) { w.SendString("fast\n") }
func (f fast) ServeNow(w *web.Response, r *web.Request) bool {
	f.Serve(w, r)
	return true
}

func TestConformance(t *testing.T) {
	tc, served := conformanceChild(t)
	names := map[string]bool{}
	sent := 0
	t.Run("cases", func(t *testing.T) {
		for _, c := range conformanceCases() {
			if names[c.name] {
				t.Errorf("two cases have the name %q", c.name)
			}
			names[c.name] = true
			sent++
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				for _, way := range ways(c) {
					if err := tc.converse(c, way); err != nil {
						t.Errorf("%s: %v\nsent %.400q", way.name, err, way.pieces)
					}
				}
			})
		}
	})
	t.Logf("%d cases", sent)
	if n := served.Load(); n > 0 {
		t.Errorf("%d smuggled requests were served", n)
	}
}

// TestConformanceOfEveryByte puts each of the 256 bytes where the grammar has an opinion on it.
func TestConformanceOfEveryByte(t *testing.T) {
	tc, served := conformanceChild(t)
	for _, place := range bytePlaces {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			var p *peer
			for b := range 256 {
				want := place.want(byte(b))
				if want == "" {
					continue
				}
				input := fmt.Sprintf(place.send, string([]byte{byte(b)}))
				answers, end, _ := strings.Cut(want, " ")
				if p == nil {
					p = tc.dial()
				}
				err := p.expect(strings.Fields(answers), end, []string{input}, nil)
				if err != nil {
					t.Errorf("byte %#02x: %v\nsent %q", b, err, input)
				}
				if err != nil || end != "open" {
					p.drop()
					p = nil
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := served.Load(); n > 0 {
			t.Errorf("%d smuggled requests were served", n)
		}
	})
}

// A way is how a case is sent.
type way struct {
	name   string
	pieces []string
	settle bool // between two pieces the child takes what was sent
}

func ways(c conformance) []way {
	ways := []way{{name: "whole", pieces: []string{c.send}}}
	if strings.HasSuffix(c.want, "close") {
		ways = append(ways, way{name: "with a request behind it", pieces: []string{c.send + smuggled}})
	}
	if len(c.send) < 2 {
		return ways
	}
	random := rand.New(rand.NewPCG(1, uint64(len(c.send)))) // the same splits in every run
	splits := 2
	if len(c.send) <= 300 {
		splits = 1
		ways = append(ways, way{name: "byte by byte", pieces: strings.Split(latin1(c.send), "")})
		for i, piece := range ways[len(ways)-1].pieces {
			ways[len(ways)-1].pieces[i] = string([]byte{byte([]rune(piece)[0])})
		}
	}
	for i := range splits {
		a, b := random.IntN(len(c.send)), random.IntN(len(c.send))
		a, b = min(a, b), max(a, b)
		ways = append(ways, way{name: fmt.Sprint("split ", i), pieces: []string{c.send[:a], c.send[a:b], c.send[b:]}, settle: true})
	}
	return ways
}

// latin1 makes a rune of each byte.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// converse runs one case on a connection of its own.
func (tc *testChild) converse(c conformance, w way) error {
	p := tc.dial()
	defer p.drop()
	words := strings.Fields(c.want)
	settle := func() {}
	if w.settle {
		settle = func() {
			for range 2 { // the first turn may have looked at the sockets before the piece came
				tc.onLoop(func(*loop) {})
			}
		}
	}
	var answers []*http1test.Response
	err := p.expect(words[:len(words)-1], words[len(words)-1], w.pieces, func(a []*http1test.Response) error {
		answers = a
		return nil
	}, settle)
	if err == nil && c.check != nil {
		err = c.check(answers)
	}
	if err == nil && !strings.Contains(c.send, " HTTP/1.1\r\n") {
		for _, a := range answers {
			if a.Framing == http1test.Chunked {
				err = errors.New("chunked answer to HTTP/1.0 (RFC 9112, 6.1)")
			}
		}
	}
	return err
}

// expect sends pieces and reads the answers, then sees how the connection stands.
func (p *peer) expect(want []string, end string, pieces []string, take func([]*http1test.Response) error, settle ...func()) error {
	sent := make(chan error, 1)
	go func() { // beside reading: the child need not read all before it answers
		for _, piece := range pieces {
			if _, err := io.WriteString(p.Conn, piece); err != nil {
				sent <- err
				return
			}
			for _, f := range settle {
				f()
			}
		}
		if end == "eof" {
			p.Conn.(*net.TCPConn).CloseWrite()
		}
		sent <- nil
	}()
	var answers []*http1test.Response
	for i, word := range want {
		method, statuses, found := strings.Cut(word, ":")
		if !found {
			method, statuses = "GET", word
		}
		r, err := p.reader.Read(method)
		if err != nil {
			return fmt.Errorf("answer %d of %d (%s): %w", i+1, len(want), word, err)
		}
		if !slices.Contains(strings.Split(statuses, "|"), strconv.Itoa(r.Status)) {
			return fmt.Errorf("answer %d is %d %q, not %s", i+1, r.Status, r.Body, statuses)
		}
		if err := wellFormed(r); err != nil {
			return fmt.Errorf("answer %d (%d): %w", i+1, r.Status, err)
		}
		if last := i == len(want)-1; r.Close != (last && (end == "close" || end == "over")) && !(last && end == "eof") {
			return fmt.Errorf("answer %d (%d) says close: %v", i+1, r.Status, r.Close)
		}
		answers = append(answers, r)
	}
	if take != nil {
		if err := take(answers); err != nil {
			return err
		}
	}
	if end == "open" {
		if err := <-sent; err != nil {
			return err
		}
		io.WriteString(p.Conn, "GET /fast HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := p.reader.Read("GET")
		if err != nil || r.Status != 200 || string(r.Body) != "fast\n" {
			return fmt.Errorf("the request after it: %+v, %v", r, err)
		}
		if n := p.reader.Buffered(); n > 0 {
			return fmt.Errorf("%d bytes too many", n)
		}
		return nil
	}
	rest, err := io.ReadAll(p.reader.Rest())
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("instead of the end: %.200q, %v", rest, err)
	}
	return <-sent
}

// wellFormed checks what every answer must have, beyond what the reader insists on.
func wellFormed(r *http1test.Response) error {
	dates := r.Fields.All("Date")
	if len(dates) != 1 { // RFC 9110, 6.6.1
		return fmt.Errorf("Date fields: %q", dates)
	}
	date, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", dates[0])
	if err != nil || time.Since(date).Abs() > time.Minute {
		return fmt.Errorf("Date %q", dates[0])
	}
	for _, name := range []string{"Server", "Content-Type", "Content-Length", "Location", "Connection", "Allow"} {
		if values := r.Fields.All(name); len(values) > 1 {
			return fmt.Errorf("%s: %q", name, values)
		}
	}
	if r.Minor != 1 { // RFC 9110, 2.5
		return errors.New("the answer is HTTP/1.0")
	}
	switch {
	case r.Status == 405 && !r.Fields.Has("Allow"): // RFC 9110, 15.5.6
		return errors.New("no Allow")
	case r.Status == 304 && r.Fields.Has("Transfer-Encoding"):
		return errors.New("Transfer-Encoding")
	case r.Close && !strings.EqualFold(r.Get("Connection"), "close"): // RFC 9112, 9.6
		return fmt.Errorf("closes with Connection %q", r.Get("Connection"))
	}
	return nil
}

// drop ends a connection without leaving it in TIME_WAIT: thousands are made.
func (p *peer) drop() {
	p.Conn.(*net.TCPConn).SetLinger(0)
	p.Close()
}

// has demands that the body of answer i, from 0, contains s.
func has(i int, s string) func([]*http1test.Response) error {
	return func(answers []*http1test.Response) error {
		if !strings.Contains(string(answers[i].Body), s) {
			return fmt.Errorf("answer %d is %.300q without %q", i+1, answers[i].Body, s)
		}
		return nil
	}
}

// field demands that answer i has one field with this value; "" demands that there is none.
func field(i int, name, value string) func([]*http1test.Response) error {
	return func(answers []*http1test.Response) error {
		got := answers[i].Fields.All(name)
		if value == "" && len(got) > 0 || value != "" && (len(got) != 1 || got[0] != value) {
			return fmt.Errorf("answer %d has %s %q, not %q", i+1, name, got, value)
		}
		return nil
	}
}

func all(checks ...func([]*http1test.Response) error) func([]*http1test.Response) error {
	return func(answers []*http1test.Response) error {
		for _, check := range checks {
			if err := check(answers); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestConformanceOfPipelines puts cases behind one another at random: the answers must be those of each alone, in order.
func TestConformanceOfPipelines(t *testing.T) {
	tc, served := conformanceChild(t)
	var open, last []conformance
	for _, c := range conformanceCases() {
		switch _, end, _ := strings.Cut(strings.TrimLeft(c.want, " "), " "); {
		case len(c.send) > 2000 || strings.HasPrefix(c.name, "RFC 9112 9.3.2") || strings.HasPrefix(c.send, "\r\n"):
		case end == "open":
			open = append(open, c)
		case end == "close":
			last = append(last, c)
		}
	}
	random := rand.New(rand.NewPCG(2, 3))
	for i := range 400 {
		whole := conformance{name: fmt.Sprint("pipeline ", i)}
		var names, answers []string
		for range 1 + random.IntN(12) {
			c := open[random.IntN(len(open))]
			names = append(names, c.name)
			whole.send += c.send
			answers = append(answers, strings.TrimSuffix(c.want, " open"))
		}
		c := last[random.IntN(len(last))]
		names = append(names, c.name)
		whole.send += c.send
		whole.want = strings.Join(answers, " ") + " " + c.want
		cut := random.IntN(len(whole.send))
		t.Run(whole.name, func(t *testing.T) {
			t.Parallel()
			for _, w := range []way{
				{name: "whole", pieces: []string{whole.send + smuggled}},
				{name: "split", pieces: []string{whole.send[:cut], whole.send[cut:]}, settle: true},
			} {
				if err := tc.converse(whole, w); err != nil {
					t.Errorf("%s: %v\n%q\nsent %q", w.name, err, names, w.pieces)
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := served.Load(); n > 0 {
			t.Errorf("%d smuggled requests were served", n)
		}
	})
}

// A HEAD is answered with the fields of the GET and without its content (RFC 9110, 9.3.2).
func TestHeadAnswersAsGet(t *testing.T) {
	tc, _ := conformanceChild(t)
	for _, version := range []string{"1.1", "1.0"} {
		for _, target := range []string{"/", "/x?y", "/fast", "/large", "/stream", "/reader", "/sized", "/nothing", "/ignore", "/only", "/panic", "/split", "/servers", "/close", "//", "/a/../b",
			"/status/204", "/status/205", "/status/304", "/status/404", "/status/599"} {
			answers := map[string]*http1test.Response{}
			for _, method := range []string{"GET", "HEAD"} {
				p := tc.dial()
				p.send(method + " " + target + " HTTP/" + version + "\r\nHost: a\r\nConnection: close\r\n\r\n")
				answers[method] = p.answer(method)
				if rest, err := io.ReadAll(p.reader.Rest()); err != nil || len(rest) > 0 {
					t.Errorf("%s %s: %q, %v behind the answer", method, target, rest, err)
				}
			}
			get, head := answers["GET"], answers["HEAD"]
			names := func(r *http1test.Response) (lines []string) {
				for _, f := range r.Fields {
					// the echo names its method: its length differs by one
					if f.Name != "Date" && !(f.Name == "Content-Length" && strings.HasPrefix(string(get.Body), "GET ")) {
						lines = append(lines, f.Name+": "+f.Value)
					}
				}
				return lines
			}
			if get.Status != head.Status || !slices.Equal(names(get), names(head)) {
				t.Errorf("%s HTTP/%s:\nGET  %d %q\nHEAD %d %q", target, version, get.Status, get.Fields, head.Status, head.Fields)
			}
		}
	}
}

// A response that closes the connection is sent to its end though it comes in pieces, with nothing to send in between.
func TestClosingStreamIsSentWhole(t *testing.T) {
	step := make(chan bool)
	tc := start(t, "", routes{
		"GET /stream": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			for piece := range stepByStep(step) {
				io.WriteString(w, piece)
				w.Flush()
			}
		}),
		"GET /reader": web.HandlerFunc(func(w *web.Response, _ *web.Request) {
			in, out := io.Pipe()
			go func() {
				for piece := range stepByStep(step) {
					io.WriteString(out, piece)
				}
				out.Close()
			}()
			w.SendReader(in, -1)
		}),
	})
	for _, head := range []string{" HTTP/1.0\r\n\r\n", " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"} {
		for _, target := range []string{"/stream", "/reader"} {
			p := tc.dial()
			p.send("GET " + target + head)
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = p.raw.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			for _, piece := range "xyz" { // each is here before the next is made
				if _, err := p.raw.ReadString(byte(piece)); err != nil {
					t.Fatalf("%s%q: %c: %v", target, head, piece, err)
				}
				step <- true
			}
			if rest, err := io.ReadAll(p.raw); err != nil || strings.Trim(string(rest), "\r\n0") != "" {
				t.Errorf("%s%q: %q, %v at the end", target, head, rest, err)
			}
		}
	}
}

// stepByStep yields "x", "y" and "z", and waits for a step behind each.
func stepByStep(step chan bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, piece := range []string{"x", "y", "z"} {
			if !yield(piece) {
				return
			}
			<-step
		}
	}
}

// 100 (Continue) comes when the handler begins to read, not before, and only if the body has not come (RFC 9110, 10.1.1).
func TestContinueIsSentWhenTheHandlerReads(t *testing.T) {
	reads := make(chan bool)
	tc := start(t, "", routes{"/": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		if !<-reads {
			web.Error(w, 403)
			return
		}
		body, err := r.Body.Bytes()
		if err != nil {
			web.Error(w, 400)
			return
		}
		w.SendBytes(body)
	})})
	for _, framing := range []struct{ field, body string }{{"Content-Length: 5", "hello"}, {"Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"}} {
		head := "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + framing.field + "\r\n\r\n"
		p := tc.dial()
		for range 3 { // on one connection
			p.send(head)
			reads <- true
			line, err := p.raw.ReadString('\n')
			if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%s: %q, %v", framing.field, line, err)
			}
			if line, err = p.raw.ReadString('\n'); err != nil || line != "\r\n" {
				t.Fatalf("%s: %q, %v", framing.field, line, err)
			}
			p.send(framing.body)
			if r := p.answer("POST"); r.Status != 200 || string(r.Body) != "hello" || len(r.Interim) > 0 || r.Close {
				t.Fatalf("%s: %+v", framing.field, r)
			}
		}
		p.send(head) // a handler that does not read: the final answer alone, and the end, since the body may come or not
		reads <- false
		if r := p.answer("POST"); r.Status != 403 || len(r.Interim) > 0 || !r.Close {
			t.Fatalf("%s: %+v", framing.field, r)
		}
		p.wantEnd()
	}
}

// A client that writes its whole body before it reads gets the answer that has refused it long before (RFC 9112, 9.6).
func TestRefusalReachesAClientThatGoesOnSending(t *testing.T) {
	tc, _ := conformanceChild(t)
	const size = 12 << 20 // more than the sockets between the two hold
	body := strings.Repeat("x", size)
	for _, c := range []struct {
		head   string
		status int
	}{
		{fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size), 413},
		{fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size), 413},
		{fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", size), 400},
		{fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", size), 400},
		{"GET /", 414},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431},
		{"FOO / HTTP/9.1\r\n", 505},
	} {
		p := tc.dial()
		p.send(c.head)
		p.send(body)
		if r := p.answer("POST"); r.Status != c.status || !r.Close {
			t.Errorf("%q: %d", c.head, r.Status)
		}
		if rest, err := io.ReadAll(p.reader.Rest()); err != nil || len(rest) > 0 {
			t.Errorf("%q: %q, %v", c.head, rest, err)
		}
		p.drop()
	}
}

// A client that is refused in its connection's first turn and never closes is not waited for without end (RFC 9112, 9.6).
func TestRefusalInTheFirstTurnLingersWithADeadline(t *testing.T) {
	tc, _ := conformanceChild(t)
	tc.onLoop(func(l *loop) { l.accept(false) })
	p := tc.dial()
	p.send("GET / HTTP/1.1\r\n\r\n") // it is all there when the connection is accepted
	tc.onLoop(func(l *loop) { l.accept(true) })
	if r := p.answer("GET"); r.Status != 400 {
		t.Fatal(r.Status)
	}
	p.wantEnd()
	tc.onLoop(func(l *loop) {
		for c := range l.table.All() {
			if !c.has(flagLingering) || !c.timer.Armed() {
				t.Errorf("flags %#x, phase %d, armed %v", c.flags, c.phase, c.timer.Armed())
			}
		}
	})
}
