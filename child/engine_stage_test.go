package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/child/web"
)

// This file is what TestEngineAtRandom plays with: a handler that does what its request says, and a model of what is answered then.

// content is what every body is the beginning of.
var content = func() []byte {
	b := make([]byte, 512<<10)
	for i := range b {
		b[i] = 'a' + byte(i%23)
	}
	return b
}()

// An act is one thing that a handler does. The number is a count of bytes, or a status.
type act struct {
	verb byte
	n    int
}

const (
	actWrite     = 'w'
	actFlush     = 'f'
	actBytes     = 'b'
	actText      = 's'
	actFile      = 'l'
	actReader    = 'y' // of a known length
	actPull      = 'Y' // of an unknown one
	actBroken    = 'e' // a reader that fails behind n bytes
	actFixed     = 'x'
	actInform    = 'i'
	actContinue  = 'c'
	actTrailer   = 't'
	actStatus    = 'S'
	actLength    = 'L' // Content-Length
	actClose     = 'C' // Connection: close
	actRead      = 'r'
	actPush      = 'p' // n bytes now and as many later
	actDeadlines = 'd'
	actPanic     = 'P'
	actAbort     = 'A'
	actDetach    = 'D'
)

// A stage is the handler: it does the acts that the query lists.
type stage struct {
	t    *testing.T
	path string // of a file with content
}

func newStage(t *testing.T) *stage {
	s := &stage{t, filepath.Join(t.TempDir(), "content")}
	if err := os.WriteFile(s.path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// broken is a source that fails.
type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the source fails")
	}
	return n, err
}

const detachedAnswer = "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// Serve implements web.Handler.
func (s *stage) Serve(w *web.Response, r *web.Request) {
	at, read := 0, 0 // of content
	writing := false
	replace := func(n int) []byte {
		if !w.Streaming() {
			at, writing = n, false
		}
		return content[:n:n]
	}
	pushed := false
	for step := range strings.SplitSeq(r.RawQuery, ".") {
		var a act
		fmt.Sscanf(step, "%c%d", &a.verb, &a.n)
		if pushed && a.verb != actPanic && a.verb != actAbort && a.verb != actInform {
			w.Write(content[:10])
			continue
		}
		switch a.verb {
		case actWrite:
			if !w.Streaming() && !writing {
				at, writing = 0, true
			}
			w.Write(content[at : at+a.n])
			at += a.n
		case actFlush:
			w.Flush()
		case actBytes:
			w.SendBytes(replace(a.n))
		case actText:
			w.SendString(string(replace(a.n)))
		case actFile:
			f, err := os.Open(s.path)
			if err != nil {
				s.t.Error(err)
				return
			}
			replace(a.n)
			w.SendFile(web.OwnFile(f), 0, int64(a.n))
		case actReader:
			w.SendReader(bytes.NewReader(replace(a.n)), int64(a.n))
		case actPull:
			w.SendReader(bytes.NewReader(replace(a.n)), -1)
		case actBroken:
			w.SendReader(broken{bytes.NewReader(replace(a.n))}, int64(a.n)+10)
		case actFixed:
			w.SendFixed(web.NewFixed(200, new(web.Header), replace(a.n)))
		case actInform:
			var h web.Header
			h.Set("Link", "</a>; rel=preload")
			w.Inform(103, &h)
		case actContinue:
			w.Inform(100, nil)
		case actTrailer:
			w.Trailer().Add("X-T", "t")
		case actStatus:
			w.SetStatus(a.n)
		case actLength:
			w.Header().Set("Content-Length", fmt.Sprint(a.n))
		case actClose:
			w.Header().Set("Connection", "close")
		case actRead:
			b, _ := io.ReadAll(io.LimitReader(&r.Body, int64(a.n)))
			if !bytes.Equal(b, content[read:read+len(b)]) {
				s.t.Errorf("a body has other bytes, from %d on: %.60q", read, b)
			}
			read += len(b)
		case actPush:
			stream, err := w.Push()
			if err != nil {
				continue
			}
			pushed = true
			stream.Push(content[:a.n])
			go func() {
				stream.Push(content[a.n : 2*a.n])
				stream.Close()
			}()
		case actDeadlines:
			w.SetReadDeadline(time.Now().Add(time.Hour))
			w.SetWriteDeadline(time.Now().Add(time.Hour))
		case actPanic:
			panic("as told")
		case actAbort:
			panic(http.ErrAbortHandler)
		case actDetach:
			conn, _, err := w.Detach()
			if err != nil {
				continue
			}
			io.WriteString(conn, detachedAnswer)
			conn.Close()
		}
	}
}

// An answer is what the model says that comes.
type answer struct {
	status   int
	length   int  // of the body
	any      bool // what length is not known: an error page
	trailers int
	interim  int
	begun    bool // it comes while the handler runs
	cut      bool // it does not come whole
	detach   bool // or the answer of the one who has detached the connection
}

// A line is a request, and what its handler does.
type line struct {
	method  string
	path    string
	minor   int
	close   bool
	expect  bool // the body is held back until it is asked for
	chunked bool
	body    int // bytes, -1: none
	acts    []act
}

func (r *line) String() string {
	s := fmt.Sprintf("%s %s HTTP/1.%d close=%v expect=%v chunked=%v body=%d ", r.method, r.path, r.minor, r.close, r.expect, r.chunked, r.body)
	return s + r.query()
}

func (r *line) query() string {
	var steps []string
	for _, a := range r.acts {
		steps = append(steps, fmt.Sprintf("%c%d", a.verb, a.n))
	}
	return strings.Join(steps, ".")
}

// head returns the request's head.
func (r *line) head() string {
	s := fmt.Sprintf("%s %s?%s HTTP/1.%d\r\nHost: x\r\n", r.method, r.path, r.query(), r.minor)
	switch {
	case r.close:
		s += "Connection: close\r\n"
	case r.minor == 0:
		s += "Connection: keep-alive\r\n"
	}
	if r.expect {
		s += "Expect: 100-continue\r\n"
	}
	switch {
	case r.chunked:
		s += "Transfer-Encoding: chunked\r\n"
	case r.body >= 0:
		s += fmt.Sprintf("Content-Length: %d\r\n", r.body)
	}
	return s + "\r\n"
}

// framed returns the request's body in its framing.
func (r *line) framed(random *rand.Rand) string {
	if r.body < 0 {
		return ""
	}
	all := string(content[:r.body])
	if !r.chunked {
		return all
	}
	var b strings.Builder
	for len(all) > 0 {
		n := min(len(all), 1+random.IntN(1+len(all)))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, all[:n])
		all = all[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// answer is the model of web.Response and of what the loop makes of it.
func (r *line) answer() answer {
	var (
		a                  = answer{status: 200}
		kind          byte = 0
		n             int
		declared      = -1
		begun, pushed bool
		atEnd         int // trailers
		limit         = -1
		reset         = func() { declared, atEnd, n, kind, a.status = -1, 0, 0, 0, 200 }
		bodyless      = func() bool { return a.status == 204 || a.status == 304 || a.status == 205 }
		begin         = func() {
			begun, a.begun = true, true
			if declared >= 0 && (atEnd == 0 || r.minor == 0) && !bodyless() {
				limit = declared
			}
		}
	)
	for _, act := range r.acts {
		if pushed {
			if act.verb == actPanic || act.verb == actAbort {
				a.cut = true
				return a
			}
			continue
		}
		switch act.verb {
		case actWrite:
			if !begun && kind != actWrite {
				kind, n = actWrite, 0
			}
			n += act.n
			if !begun && n > web.StreamAt {
				begin()
			}
		case actFlush:
			switch kind {
			case 0, actWrite, actBytes, actText:
				if !begun {
					begin()
				}
			}
		case actBytes, actText, actFile, actReader, actPull, actBroken, actFixed:
			if !begun {
				kind, n = act.verb, act.n
				if kind == actFixed {
					a.status = 200
				}
			}
		case actInform:
			if !begun && r.minor > 0 {
				a.interim++
			}
		case actTrailer:
			atEnd++
		case actStatus:
			if !begun {
				a.status = act.n
			}
		case actLength:
			if !begun {
				declared = act.n
			}
		case actPush:
			if !begun {
				pushed, begun, a.begun, n, kind = true, true, true, 2*act.n, 0
			}
		case actPanic:
			if begun {
				a.cut = true
				return a
			}
			reset()
			a.status, a.any = 500, true
			return a
		case actAbort:
			a.cut = true
			return a
		case actDetach:
			if !begun {
				a.detach = true
			}
		}
	}
	a.length = n
	if kind == actFixed && !begun {
		a.status = 200
	}
	chunked := false
	switch {
	case pushed:
	case begun && limit >= 0:
		a.length = min(n, limit)
		a.cut = n < limit && r.method != "HEAD"
	case begun:
		chunked = r.minor > 0
	case kind == actBroken:
		a.cut = r.method != "HEAD" && !bodyless()
	case kind == actPull:
		chunked = r.minor > 0
	case kind != actFixed:
		chunked = r.minor > 0 && atEnd > 0
	}
	if r.method == "HEAD" || bodyless() {
		a.length, chunked = 0, false
	}
	if chunked {
		a.trailers = atEnd
	}
	return a
}

// compare says what is wrong with an answer.
func (want *answer) compare(got *http1test.Response) error {
	if got.Status != want.status {
		return fmt.Errorf("status %d", got.Status)
	}
	if !want.any && (len(got.Body) != want.length || !bytes.Equal(got.Body, content[:len(got.Body)])) {
		return fmt.Errorf("body of %d bytes: %.60q", len(got.Body), got.Body)
	}
	if len(got.Trailers) != want.trailers {
		return fmt.Errorf("trailers %q", got.Trailers)
	}
	hints := 0
	for _, interim := range got.Interim {
		if interim.Status == 103 {
			hints++
		}
	}
	if hints != want.interim {
		return fmt.Errorf("%d informational responses", hints)
	}
	return nil
}
