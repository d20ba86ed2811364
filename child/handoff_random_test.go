package child

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
)

// TestHandoffAtRandom moves the connections of strict clients to and fro between three children while they ask: alone and in pipelines,
// with bodies, in pieces of any size, slowly and fast. Every answer must be the one that was asked for, in order, and no connection may end. A
// failure names its seed:
//
//	go test ./child -run HandoffAtRandom -random.seed=N
func TestHandoffAtRandom(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	echo := func(w *web.Response, r *web.Request) {
		b, err := r.Body.Bytes()
		if err != nil {
			web.Error(w, 500)
			return
		}
		fmt.Fprintf(w, "%s %d %s", r.RawQuery, len(b), b)
	}
	handlers := routes{
		"/now": nowHandler(echo), "/pooled": web.HandlerFunc(echo),
		"/long": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			echo(w, r)
			w.Flush()
			w.Write(bytes.Repeat([]byte("z"), 100_000))
		}),
	}
	var children []*testChild
	for range 3 {
		children = append(children, start(t, "", handlers))
	}
	stop, round := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		p := children[i%3].dial()
		p.SetDeadline(time.Now().Add(patience + *randomFor))
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		clients.Go(func() {
			if err := asks(p, random, round, stop); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	moved := 0
	random := rand.New(rand.NewPCG(seed, 99))
	for end := time.Now().Add(*randomFor); time.Now().Before(end) && !t.Failed(); {
		order := random.Perm(3)
		takers := []*testChild{children[order[1]], children[order[2]]}
		moved += children[order[0]].moves(1+random.IntN(8), takers[:1+random.IntN(2)]...).Count
		for waiting := true; waiting; {
			select {
			case round <- struct{}{}:
			default:
				waiting = false
			}
		}
	}
	close(stop)
	clients.Wait()
	if moved == 0 {
		t.Error("nothing has moved")
	}
	t.Logf("%d moves", moved)
	for _, tc := range children {
		if log := tc.loggedLines(); strings.Contains(log, "runtime error") {
			t.Error(log)
		}
	}
}

// asks plays a client until stop: it sends some requests in pieces, and reads their answers.
func asks(p *peer, random *rand.Rand, round, stop <-chan struct{}) error {
	for number := 0; ; {
		select {
		case <-stop:
			return nil
		default:
		}
		var bytesOut strings.Builder
		var want []string
		for range 1 + random.IntN(3) {
			number++
			path := pick(random, "/now", "/pooled", "/now", "/pooled", "/long")
			body := strings.Repeat(fmt.Sprint(number%10), pick(random, 0, 0, 3, 1000, 70_000))
			method := "GET"
			fields := ""
			if body != "" {
				method, fields = "POST", length(len(body))
			}
			fmt.Fprintf(&bytesOut, "%s %s?%d HTTP/1.1\r\nHost: x\r\nX-Pad: %s\r\n%s\r\n%s", method, path, number,
				strings.Repeat("p", random.IntN(40)), fields, body)
			answer := fmt.Sprintf("%d %d %s", number, len(body), body)
			if path == "/long" {
				answer += strings.Repeat("z", 100_000)
			}
			want = append(want, answer)
		}
		sent := make(chan error, 1)
		seed := random.Uint64()
		go func() { sent <- dribble(p, bytesOut.String(), rand.New(rand.NewPCG(seed, 5)), round, stop) }()
		for i, answer := range want {
			r, err := p.reader.Read("GET")
			if err != nil {
				return fmt.Errorf("answer %d of %d: %w", i, len(want), err)
			}
			if r.Status != 200 || string(r.Body) != answer || r.Close {
				return fmt.Errorf("answer %d of %d: %d %.60q and not %.60q, close %v", i, len(want), r.Status, r.Body, answer, r.Close)
			}
		}
		if err := <-sent; err != nil {
			return err
		}
	}
}

// dribble sends s in pieces. Now and then it waits for a round of moves, before the first byte or behind a later one.
func dribble(conn io.Writer, s string, random *rand.Rand, round, stop <-chan struct{}) error {
	for most := pick(random, 1<<20, 50, 20, 3000); len(s) > 0; {
		if random.IntN(4) == 0 {
			select {
			case <-round:
			case <-stop:
			}
		}
		n := min(len(s), 1+random.IntN(most))
		if most < 1000 && len(s) > 2000 {
			n = min(len(s), 1500)
		}
		if _, err := io.WriteString(conn, s[:n]); err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

// BenchmarkHandoff moves 10,000 idle connections, or as many as the limit of open files allows, from one loop to another, and back for the
// next round: an operation is all of them.
func BenchmarkHandoff(b *testing.B) {
	limit, err := netcore.RaiseFileLimit()
	if err != nil {
		b.Fatal(err)
	}
	n := int(min(10_000, limit/2-600)) // both ends, and the duplicates on their way
	from, to := start(b, "", plainRoutes()), start(b, "", plainRoutes())
	clients := make([]int, n)
	for i := range clients {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			b.Fatal(err)
		}
		clients[i] = pair[1]
		from.loop.call(func() {
			l := from.loop
			l.admit(pair[0], peerOf(pair[0]), l.firstListener(), roleServer)
		})
	}
	defer closeDescriptors(clients)
	from.until("all are there", func(l *loop) bool { return l.table.Len() == n })
	from.rests("before the moves")
	for b.Loop() {
		if m := from.moves(n, to); m.Count != n {
			b.Fatalf("%+v", m)
		}
		to.until("all have come", func(l *loop) bool { return l.table.Len() == n }) // the answer may be earlier
		from, to = to, from
	}
	b.ReportMetric(float64(n), "connections")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/connection")
}
