package child

import (
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// At limits.connections accepting pauses, without a turn of the loop, whatever arrives meanwhile; the queue waits in the kernel and is
// served as connections close.
func TestConnectionLimitPausesAccepting(t *testing.T) {
	for _, mechanism := range []string{"epoll", "poll"} {
		t.Run(mechanism, func(t *testing.T) {
			tc := startOn(t, mechanism, "limits {\n  connections = 2\n}\n", routes{"GET /x": text("x")})
			var open []*peer
			for range 2 {
				p := tc.dial()
				p.get("/x")
				open = append(open, p)
			}
			var waiting []*peer
			for range 5 {
				p := tc.dial()
				p.send(getX)
				waiting = append(waiting, p)
				tc.until("accepting pauses", func(l *loop) bool { return l.choked })
			}
			// All the time: not only between a connection's arrival and the next try.
			var calls, turns, from int64
			for start := time.Now(); time.Since(start) < 3*time.Duration(chokeRetry); calls++ {
				tc.onLoop(func(*loop) { from = tc.turns.turns.Load() })
				if calls < 200 { // more would overflow the backlog, and connect would wait for a SYN to be sent again
					tc.dial().Conn.Close()
				}
				tc.onLoop(func(*loop) { turns += tc.turns.turns.Load() - from })
			}
			if turns > 10*calls {
				t.Errorf("the loop spins while accepting pauses: %d turns for %d calls", turns, calls)
			}
			tc.onLoop(func(l *loop) {
				if l.table.Len() != 2 {
					t.Errorf("%d connections", l.table.Len())
				}
			})
			for i, p := range waiting {
				open[i].Conn.Close()
				if r := p.answer("GET"); r.Status != 200 {
					t.Fatal(r.Status)
				}
				open = append(open, p)
			}
		})
	}
}

// Out of descriptors, accepting pauses and recovers by itself. The limit is the whole process's, so the test runs in one of its own.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv("TINED_TEST_EMFILE") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOutOfDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "TINED_TEST_EMFILE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestOutOfDescriptors") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	tc := start(t, "", routes{"GET /x": text("x")})
	first := tc.dial()
	first.get("/x")
	second := tc.dial() // in the queue before the descriptors are out: the client needs one itself
	tc.until("both are accepted", func(l *loop) bool { return l.table.Len() == 2 })
	tc.onLoop(func(l *loop) { l.accept(false) })
	third := tc.dial()
	third.send(getX)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	sealed, err := control.Seal("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	low := unix.Rlimit{Cur: 3, Max: limit.Max} // every number below is taken, so no descriptor can be had
	tc.onLoop(func(l *loop) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Error(err)
		}
		l.accept(true)
	})
	tc.until("accepting pauses", func(l *loop) bool { return l.choked })
	tc.rests("while descriptors are out")
	if r := first.get("/x"); r.Status != 200 {
		t.Fatal("a connection that is open is not served")
	}
	if r := second.get("/x"); r.Status != 200 {
		t.Fatal("a connection that is open is not served")
	}
	tc.until("it was tried again", func(l *loop) bool { return strings.Count(tc.loggedLines(), "accepting pauses") >= 1 })
	// The files of an order are lost on their way now. That is the end of the order, not of the channel.
	tc.tell(&control.Prepare{Generation: 7}, int(sealed.Fd()))
	if f := heard[*control.Failed](tc); f.Generation != 7 || !strings.Contains(f.Diagnostic, "out of descriptors") {
		t.Errorf("%+v", f)
	}
	tc.tell(&control.Ping{})
	heard[*control.Pong](tc)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if r := third.answer("GET"); r.Status != 200 {
		t.Fatal(r.Status)
	}
}

// Connections leave descriptors for the master's orders, whatever is configured: a reload must go through however many clients there are.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	tc.onLoop(func(l *loop) { l.mostConnections = 2 })
	first, second := tc.dial(), tc.dial()
	first.get("/x")
	second.get("/x")
	third := tc.dial()
	third.send(getX)
	tc.until("accepting pauses", func(l *loop) bool { return l.choked })
	tc.until("it is said why", func(*loop) bool { return strings.Contains(tc.loggedLines(), "raise the limit of open files") })
	first.Close()
	if r := third.answer("GET"); r.Status != 200 {
		t.Fatal(r.Status)
	}
	for descriptors, want := range map[uint64]int{1: 1, 64: 56, 1024: 896, 20_000: 20_000 - control.MaxFiles - 64, math.MaxUint64: math.MaxInt32 - control.MaxFiles - 64} {
		if got := connectionsFor(descriptors); got != want {
			t.Errorf("of %d descriptors %d are for connections, not %d", descriptors, got, want)
		}
	}
}

// One connection that sends as fast as it can, and one that reads as fast as it can, get a turn each: another request waits for a
// bounded number of turns, not for them.
func TestHogsDoNotStarveOthers(t *testing.T) {
	large := make([]byte, 64<<20)
	var tc *testChild
	var served atomic.Int64 // the turn in which the victim's last request was
	tc = start(t, "", routes{
		"GET /victim": nowHandler(func(w *web.Response, r *web.Request) { served.Store(tc.turns.turns.Load()); w.SendString("x") }),
		"GET /x":      nowHandler(func(w *web.Response, r *web.Request) { w.SendString("x") }),
		"GET /large":  nowHandler(func(w *web.Response, r *web.Request) { w.SendBytes(large) }),
		"POST /sink":  web.HandlerFunc(readAll),
	})
	var hogs sync.WaitGroup
	stop := make(chan struct{})
	hog := func(send string, endless string) {
		p := tc.dial()
		hogs.Add(2)
		go func() {
			defer hogs.Done()
			io.WriteString(p.Conn, send)
			for endless != "" {
				if _, err := io.WriteString(p.Conn, endless); err != nil {
					return
				}
			}
		}()
		go func() {
			defer hogs.Done()
			io.Copy(io.Discard, p.Conn)
		}()
		go func() { <-stop; p.Conn.Close() }()
	}
	hog("", strings.Repeat(getX, 500))
	hog("", strings.Repeat("GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 10))
	hog(post("/sink", isChunked, ""), chunked(strings.Repeat("b", 100_000), 50_000)[:100_000])
	tc.until("the hogs are at work", func(l *loop) bool { return l.numbers.bytesOut > 1<<20 && l.numbers.bytesIn > 1<<20 })
	// The request is with the kernel when send returns: the next turn's Wait reports it, and that turn serves it.
	victim := tc.dial()
	for range 200 {
		victim.send("GET /victim HTTP/1.1\r\nHost: x\r\n\r\n")
		sent := tc.turns.turns.Load()
		victim.answer("GET")
		if n := served.Load() - sent; n > 2 {
			t.Errorf("a request waited for %d turns", n)
		}
	}
	close(stop)
	hogs.Wait()
}

// Many short connections from many goroutines, in every way of ending.
func TestChurn(t *testing.T) {
	for _, mechanism := range []string{"epoll", "poll", "select"} {
		t.Run(mechanism, func(t *testing.T) {
			if mechanism == "select" && highestDescriptor() > 800 {
				t.Skip("too many descriptors are open for select")
			}
			tc := startOn(t, mechanism, "", routes{
				"GET /x":   text("x"),
				"GET /now": nowHandler(func(w *web.Response, r *web.Request) { w.SendString("x") }),
				"POST /b":  web.HandlerFunc(readAll),
				"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
					for range 20 {
						if _, err := w.Write(make([]byte, 10_000)); err != nil {
							return
						}
					}
				}),
				"GET /r": web.HandlerFunc(func(w *web.Response, r *web.Request) { w.SendReader(io.LimitReader(forever{}, 200_000), -1) }),
			})
			var clients sync.WaitGroup
			requests := []string{getX, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", post("/b", length(100_000), strings.Repeat("b", 100_000)),
				"GET /s HTTP/1.1\r\nHost: x\r\n\r\n", "GET /r HTTP/1.1\r\nHost: x\r\n\r\n"}
			for client := range 8 {
				clients.Add(1)
				go func() {
					defer clients.Done()
					for i := range 40 {
						p := tc.dial()
						request := requests[(client+i)%len(requests)]
						method, _, _ := strings.Cut(request, " ")
						switch i % 5 {
						case 0: // whole, twice
							io.WriteString(p.Conn, request+request)
							for range 2 {
								if r, err := p.reader.Read(method); err != nil || r.Status != 200 {
									t.Errorf("client %d, round %d: %v", client, i, err)
								}
							}
							p.Conn.Close()
						case 1: // half of a request
							io.WriteString(p.Conn, request[:len(request)/2])
							p.Conn.Close()
						case 2: // the answer is not read
							io.WriteString(p.Conn, request)
							p.reset()
						case 3: // half-close
							io.WriteString(p.Conn, request)
							p.halfClose()
							if r, err := p.reader.Read(method); err != nil || r.Status != 200 {
								t.Errorf("client %d, round %d: %v", client, i, err)
							}
							p.Conn.Close()
						case 4: // pipelined and gone in the middle
							io.WriteString(p.Conn, strings.Repeat(request, 5))
							p.Conn.Read(make([]byte, 100))
							p.reset()
						}
					}
				}()
			}
			clients.Wait()
			tc.until("all are gone", func(l *loop) bool { return l.table.Len() == 0 })
			tc.rests("after the churn")
			tc.onLoop(func(l *loop) {
				var closed uint64
				for _, n := range l.numbers.closed {
					closed += n
				}
				if l.numbers.accepted != 320 || closed != 320 {
					t.Errorf("accepted %d, closed %d", l.numbers.accepted, closed)
				}
			})
		})
	}
}

// highestDescriptor is the number that the next descriptor gets.
func highestDescriptor() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 1 << 20
	}
	unix.Close(fd)
	return fd
}

// No descriptor stays open when the connections are gone.
func TestNoDescriptorLeaks(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	tc.dial().Conn.Close()
	tc.until("it is gone", func(l *loop) bool { return l.numbers.accepted == 1 && l.table.Len() == 0 })
	before := count()
	for range 50 {
		p := tc.dial()
		p.get("/x")
		p.Conn.Close()
	}
	tc.until("all are gone", func(l *loop) bool { return l.numbers.accepted == 51 && l.table.Len() == 0 })
	if after := count(); after > before {
		t.Errorf("%d descriptors are open, before there were %d", after, before)
	}
}

// A connection that is refused by a burst's end is accepted in the next turn: no edge is lost, whatever the size of the queue.
func TestLongAcceptQueue(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	tc.onLoop(func(l *loop) { l.accept(false) })
	peers := make([]*peer, 3*acceptBurst)
	for i := range peers {
		peers[i] = tc.dial()
		peers[i].send(getX)
	}
	tc.onLoop(func(l *loop) { l.accept(true) })
	for i, p := range peers {
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatal(i, r.Status)
		}
	}
	tc.rests("after all")
}
