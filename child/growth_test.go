package child

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// Hundreds of reloads under keep-alive traffic, with listeners and logs that come and go, leave nothing behind: no generation, goroutine
// or descriptor, and no request is lost.
func TestReloadsLeaveNothing(t *testing.T) {
	const reloads, warm = 220, 20
	m := newTheatre()
	tc := start(t, programme(1, ""), nil, m)
	dir := t.TempDir()
	stop, more := make(chan struct{}), make(chan struct{}, 100) // a token lets a client ask once more
	var clients sync.WaitGroup
	defer clients.Wait()
	leave := sync.OnceFunc(func() { close(stop) })
	defer leave()
	for range 3 {
		p := tc.dial()
		clients.Go(func() {
			last := 0
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-more:
				}
				p.SetDeadline(time.Now().Add(patience))
				if _, err := fmt.Fprint(p.Conn, getOf("plain"), getOf("now")); err != nil {
					t.Errorf("request %d: %v", n, err)
					return
				}
				for range 2 {
					r, err := p.reader.Read("GET")
					if err != nil || r.Status != 200 || r.Close {
						t.Errorf("request %d: %v, %v", n, r, err)
						return
					}
					var generation int
					fmt.Sscan(string(r.Body), &generation)
					if generation < last {
						t.Errorf("generation %d after %d", generation, last)
					}
					last = generation
				}
			}
		})
	}
	var generations []weak.Pointer[generation]
	number := uint64(1)
	reload := func() {
		number++
		for range cap(more) - len(more) {
			more <- struct{}{}
		}
		name := filepath.Join(dir, fmt.Sprint("log", number%3))
		config := programme(int(number), "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nlisten \"more\" {\n  address = \"127.0.0.1:0\"\n}\n") +
			fmt.Sprintf("site \"logged\" {\n  hosts = [\"logged\"]\n  access_log {\n    file = %q\n  }\n}\n", name)
		files := func() []*os.File { return []*os.File{appending(t, name)} }
		if number%5 == 0 { // one that is dropped
			tc.prepares(config, 1e6+number, nil, []string{name}, files())
			tc.tell(&control.Abort{Generation: 1e6 + number})
		}
		id := uint32(number) // a listener of its own, which the next one removes
		if failed, is := tc.prepares(config, number, []uint32{1, id}, []string{name}, files()).(*control.Failed); is {
			t.Fatal(failed.Diagnostic)
		}
		tc.tell(&control.Commit{Generation: number})
		heard[*control.Committed](tc)
		tc.onLoop(func(l *loop) { generations = append(generations, weak.Make(l.generation)) })
		fd, address := boundSocket(t)
		tc.tell(&control.Lend{Shards: []control.Shard{{ID: id, Listener: "more"}}}, fd)
		unix.Close(fd)
		heard[*control.Lent](tc)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		p := tc.peerOf(conn)
		p.send("GET /x HTTP/1.1\r\nHost: logged\r\n\r\n")
		p.answer("GET")
		if number%2 == 0 {
			p.Conn.Close()
		}
		tc.returns(control.Shard{ID: id})
		if number%2 == 1 { // still there when its listener is removed
			t.Cleanup(func() { p.Conn.Close() })
		}
	}
	living := func() (n int) {
		runtime.GC()
		for _, g := range generations {
			if g.Value() != nil {
				n++
			}
		}
		return n
	}
	goroutines, open := 0, 0
	for range reloads {
		if reload(); number == warm {
			goroutines, open = runtime.NumGoroutine(), descriptors(t)
		}
	}
	tc.until("old generations are over", func(l *loop) bool { return l.retirees == 0 || l.retirees == 1 })
	leave()
	clients.Wait()
	const slack = 6 // what is just ending
	tc.until("they are forgotten", func(l *loop) bool { return living() <= 2 })
	if n := runtime.NumGoroutine(); n > goroutines+slack {
		t.Errorf("%d goroutines, there were %d", n, goroutines)
	}
	// The test's own ends of half of the connections are open, which the child has closed.
	if n := descriptors(t) - reloads/2; n > open+slack {
		t.Errorf("%d descriptors, there were %d", n, open)
	}
	tc.onLoop(func(l *loop) {
		if n := len(l.listeners); n > 3 {
			t.Errorf("%d listeners", n)
		}
		if len(l.lateLogs) > 3 {
			t.Errorf("%d late logs", len(l.lateLogs))
		}
	})
	tc.logs.mu.Lock()
	defer tc.logs.mu.Unlock()
	if n := len(tc.logs.open); n > 2 {
		t.Errorf("%d log files are open", n)
	}
}

// boundSocket is a listening socket and its address.
func boundSocket(t *testing.T) (fd int, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		t.Fatal(err)
	}
	return fd, listener.Addr().String()
}
