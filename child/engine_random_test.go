package child

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1/http1test"
	"github.com/tined/tined/netcore/control"
)

var (
	randomFor  = flag.Duration("random.for", time.Second, "how long TestEngineAtRandom plays")
	randomSeed = flag.Uint64("random.seed", 0, "the seed that TestEngineAtRandom begins with; 0: one of its own")
)

// TestEngineAtRandom plays connections of pipelined requests whose handlers do what a program could do, in any order: write, flush, send,
// inform, push, read, panic, detach. Bytes come in pieces, sockets are small, clients read slowly, end their side in the middle, or go. What
// is answered is compared with a model of web.Response, and nothing may hang or be left over. A failure names its seed:
//
//	go test ./child -run EngineAtRandom -random.seed=N -random.for=1ns
func TestEngineAtRandom(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	stage := newStage(t)
	tc := start(t, "limits {\n  pipeline_depth = 5\n}\n", routes{"/pooled": stage, "/now": nowHandler(stage.Serve)})
	for end := time.Now().Add(*randomFor); ; seed++ {
		random := rand.New(rand.NewPCG(seed, 0))
		s := newScene(random)
		reloads := tc.reloadsAtRandom(random.Uint64())
		err := s.play(tc)
		reloads.Wait()
		if err != nil {
			t.Fatalf("seed %d: %v\n%v", seed, err, s)
		}
		if time.Now().After(end) {
			break
		}
	}
	if log := tc.loggedLines(); strings.Contains(log, "runtime error") {
		t.Error(log)
	}
}

// reloadsAtRandom commits up to three generations while a scene is played, after some turns of the loop each: no answer may change, for all
// are the same.
func (tc *testChild) reloadsAtRandom(seed uint64) *sync.WaitGroup {
	random := rand.New(rand.NewPCG(seed, 1))
	done := new(sync.WaitGroup)
	done.Go(func() {
		for range random.IntN(4) {
			for range random.IntN(30) {
				tc.onLoop(func(*loop) {})
			}
			tc.onLoop(func(l *loop) {
				g := *l.generation // the present one again
				g.number, g.exchanges, g.held = g.number+1, 0, 0
				l.commit(&g)
			})
		}
	})
	return done
}

// ending is how a client leaves.
type ending int

const (
	waits  ending = iota // until the server closes, or everything is answered
	halves               // it ends its side behind the last byte
	stops                // it ends its side in the middle
	leaves               // it closes in the middle
	resets               // it resets the connection in the middle
	endings
)

// A scene is a connection.
type scene struct {
	lines  []*line
	unix   bool
	tight  bool // small buffers
	pieces int  // bytes that are sent and read at a time, at most
	ending ending
	end    int // of the bytes that are sent, per mille, where it ends in the middle
	random *rand.Rand

	told    chan struct{} // closed when the client has sent all
	refused bool          // a write has failed
}

func (s *scene) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "unix=%v tight=%v pieces=%d ending=%d end=%d\n", s.unix, s.tight, s.pieces, s.ending, s.end)
	for _, r := range s.lines {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func newScene(random *rand.Rand) *scene {
	s := &scene{random: random, unix: random.IntN(2) == 0, tight: random.IntN(3) == 0, end: random.IntN(1000)}
	s.pieces = pick(random, 1<<20, 1<<20, 60_000, 3000, 200)
	if random.IntN(3) == 0 {
		s.ending = ending(random.IntN(int(endings)))
	}
	for range 1 + random.IntN(5) {
		s.lines = append(s.lines, newLine(random))
	}
	for i, r := range s.lines[:len(s.lines)-1] {
		r.expect = false // its body is held back, and so would be all that follows
		if r.close && random.IntN(4) > 0 {
			s.lines[i].close = false
		}
	}
	return s
}

func newLine(random *rand.Rand) *line {
	size := func() int {
		return pick(random, 0, 1, 100, 100, 5000, 16<<10, 16<<10+1, 33_000, 70_000, 200_000) * random.IntN(4) / 3
	}
	r := &line{
		method: pick(random, "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"),
		path:   pick(random, "/pooled", "/pooled", "/now"),
		minor:  pick(random, 1, 1, 1, 1, 0),
		close:  random.IntN(6) == 0,
		body:   -1,
	}
	if random.IntN(3) == 0 {
		r.body = size()
		r.chunked = r.minor > 0 && random.IntN(2) == 0
		r.expect = r.minor > 0 && random.IntN(3) == 0
	}
	verbs := "wwwwfffblsyYxiitttSSLrrrrdccCp"
	if random.IntN(3) == 0 {
		verbs += "ePA"
		if r.path == "/pooled" {
			verbs += "D"
		}
	}
	total := 0
	for range random.IntN(7) {
		a := act{verb: verbs[random.IntN(len(verbs))]}
		switch a.verb {
		case actWrite, actBytes, actText, actFile, actReader, actPull, actBroken, actFixed, actRead, actLength:
			a.n = size()
		case actPush:
			a.n = random.IntN(16 << 10)
		case actStatus:
			a.n = pick(random, 200, 201, 204, 205, 304, 404, 599)
		}
		if a.verb == actWrite {
			if total += a.n; total > len(content)/2 {
				continue
			}
		}
		if a.verb == actRead && r.expect && r.answer().begun { // it waits for a body that nobody sends any more
			a.verb = actFlush
		}
		if r.path == "/now" && a.verb == actRead && r.body > 0 && (r.chunked || r.expect || r.body > collectMax) {
			a.verb = actFlush
		}
		r.acts = append(r.acts, a)
	}
	return r
}

// goAhead looks for the word of a server that asks for a body.
type goAhead struct {
	io.Reader
	seen string
	once sync.Once
	word chan bool
}

func (g *goAhead) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	g.seen += string(p[:n])
	if strings.Contains(g.seen, "100 Continue") {
		g.say(true)
	}
	g.seen = g.seen[max(0, len(g.seen)-20):]
	return n, err
}

func (g *goAhead) say(asked bool) { g.once.Do(func() { g.word <- asked }) }

// inPieces reads a little at a time.
type inPieces struct {
	io.Reader
	most int
}

func (r inPieces) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.most)]) }

// connect opens the scene's connection.
func (s *scene) connect(tc *testChild) net.Conn {
	var p *peer
	if s.unix {
		p = tc.inject(control.RoleLive)
	} else {
		p = tc.dial()
	}
	tc.until("the connection is there", func(l *loop) bool {
		for c := range l.table.All() {
			if s.tight && c.exchanges == 0 && c.received == 0 {
				_ = unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
			}
		}
		return l.table.Len() > 0
	})
	return p.Conn
}

// play acts the scene and returns what was wrong.
func (s *scene) play(tc *testChild) error {
	conn := s.connect(tc)
	defer conn.Close()
	in := &goAhead{Reader: inPieces{conn, s.pieces}, word: make(chan bool, 1)}
	send, held, whole := s.script()
	s.told = make(chan struct{})
	go func() {
		defer close(s.told)
		s.tell(conn, send, held, in.word)
	}()
	err := s.read(in, whole)
	in.say(false)
	<-s.told
	return err
}

// script returns the bytes that the client sends at once, those that it holds back until it is asked, and how many requests are whole.
func (s *scene) script() (send, held string, whole int) {
	var all strings.Builder
	var ends []int
	for _, r := range s.lines {
		all.WriteString(r.head())
		if r.expect && r.body > 0 {
			held = r.framed(s.random)
		} else {
			all.WriteString(r.framed(s.random))
		}
		ends = append(ends, all.Len())
	}
	send = all.String()
	if s.ending >= stops {
		send, held = send[:len(send)*s.end/1000], ""
	}
	for whole < len(ends) && ends[whole] <= len(send) {
		whole++
	}
	if s.ending >= stops && whole == len(ends) && s.lines[whole-1].expect {
		whole--
	}
	return send, held, whole
}

// tell is the client's sending side.
func (s *scene) tell(conn net.Conn, send, held string, word chan bool) {
	random := rand.New(rand.NewPCG(uint64(len(send)), 1))
	write := func(b string) {
		for len(b) > 0 && !s.refused {
			n := min(len(b), 1+random.IntN(s.pieces))
			_, err := io.WriteString(conn, b[:n])
			s.refused = err != nil
			b = b[n:]
		}
	}
	write(send)
	ending := s.ending
	if held != "" {
		if <-word {
			write(held)
		} else if ending == waits {
			ending = halves // a handler may still want the body
		}
	}
	switch ending {
	case halves, stops:
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	case resets:
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	case leaves:
		conn.Close()
	}
}

// read compares what comes with the model.
func (s *scene) read(in *goAhead, whole int) error {
	reader := http1test.NewReader(in)
	for i, r := range s.lines {
		want := r.answer()
		got, err := reader.Read(r.method)
		if r.expect {
			in.say(false)
		}
		switch {
		case err == nil:
		case os.IsTimeout(err):
			return fmt.Errorf("answer %d: hangs: %w", i, err)
		case s.ending >= leaves, want.cut, s.resets(i, err):
			return nil
		case i < whole || err != io.EOF:
			return fmt.Errorf("answer %d: %w, want %+v", i, err, want)
		default:
			return nil
		}
		last := i == len(s.lines)-1
		switch {
		case got.Status == 299 && want.detach:
			return nil
		case got.Status == 400 && (i >= whole || last && r.expect): // to half a request, or to a body that never came
			return s.over(reader, i)
		case want.cut && !want.begun, want.cut && s.tellsCut(in, got):
			return fmt.Errorf("answer %d: %d with %d bytes is whole (%s), want it cut: %+v", i, got.Status, len(got.Body), got.Framing, want)
		case want.cut:
			return nil
		}
		if i < whole || !r.expect {
			if err := want.compare(got); err != nil {
				return fmt.Errorf("answer %d: %w\nwant %+v", i, err, want)
			}
		}
		if !got.Close && last && s.ending == waits {
			if reader.Buffered() > 0 {
				return fmt.Errorf("bytes behind the last answer")
			}
			return nil
		}
		if got.Close {
			return s.over(reader, i)
		}
	}
	return s.over(reader, len(s.lines)-1)
}

// tellsCut reports whether the client of an answer that is cut is always told.
func (s *scene) tellsCut(in *goAhead, got *http1test.Response) bool {
	switch got.Framing {
	case http1test.Chunked:
		return true
	case http1test.UntilClose:
		in.say(false)
		<-s.told                     // a write that fails takes the reset away from the reads
		return !s.unix && !s.refused // there is no reset of a unix socket
	}
	return false
}

// resets reports whether err is a reset that may come instead of answer i: that of a later answer whose body is cut, which only a reset
// can tell.
func (s *scene) resets(i int, err error) bool {
	if !errors.Is(err, unix.ECONNRESET) {
		return false
	}
	for _, r := range s.lines[i:] {
		if r.minor == 0 && r.answer().cut {
			return true
		}
	}
	return false
}

// over expects the end of the connection.
func (s *scene) over(reader *http1test.Reader, i int) error {
	rest, err := io.ReadAll(reader.Rest())
	if s.ending < leaves && (len(rest) > 0 || err != nil) {
		return fmt.Errorf("behind the last answer, %d: %.200q, %w", i, rest, err)
	}
	return nil
}
