package child

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

func fileOf(fd int) *os.File { return os.NewFile(uintptr(fd), "socket") }

func TestServesRequestsOnOneConnection(t *testing.T) {
	tc := start(t, "", routes{"GET /hello/{name}": web.StringFunc(func(r *web.Request) string { return "Hello, " + r.PathValue("name") })})
	p := tc.dial()
	for i := range 3 {
		name := fmt.Sprint("n", i)
		if r := p.get("/hello/" + name); r.Status != 200 || string(r.Body) != "Hello, "+name {
			t.Fatalf("request %d: %d %q", i, r.Status, r.Body)
		}
	}
	if r := p.get("/nothing"); r.Status != 404 {
		t.Fatalf("unknown path: %d", r.Status)
	}
}

// Responses leave in the order of the requests, whatever order the handlers finish in (RFC 9112, 9.3.2).
func TestPipelineKeepsOrder(t *testing.T) {
	gates := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{}), "c": make(chan struct{})}
	started := make(chan string, 3)
	tc := start(t, "", routes{"GET /{name}": web.StringFunc(func(r *web.Request) string {
		started <- r.PathValue("name")
		<-gates[r.PathValue("name")]
		return r.PathValue("name")
	})})
	p := tc.dial()
	p.send(strings.Repeat("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 1) + "GET /b HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /c HTTP/1.1\r\nHost: x\r\n\r\n")
	for range 3 {
		<-started // all three run side by side
	}
	for _, name := range []string{"c", "b", "a"} {
		close(gates[name])
	}
	for _, name := range []string{"a", "b", "c"} {
		if r := p.answer("GET"); string(r.Body) != name {
			t.Fatalf("got %q, want %q", r.Body, name)
		}
	}
}

// The master proves a child on a connection of its own, which no user's route serves and no counter counts.
func TestSelfRequest(t *testing.T) {
	tc := start(t, "", routes{"/": text("user")})
	p := tc.inject(control.RoleSelf)
	p.send("GET / HTTP/1.1\r\nHost: " + control.SelfHost + "\r\n\r\n")
	if r := p.answer("GET"); r.Status != 200 || !strings.Contains(string(r.Body), "generation 1") {
		t.Fatalf("%d %q", r.Status, r.Body)
	}
	tc.onLoop(func(l *loop) {
		if l.numbers.begun != 0 || l.numbers.accepted != 0 || l.numbers.finished != 0 {
			t.Errorf("counted: %+v", l.numbers)
		}
	})
}

func TestEchoesBodies(t *testing.T) {
	tc := start(t, "", routes{"POST /echo": web.HandlerFunc(func(w *web.Response, r *web.Request) {
		b, err := r.Body.Bytes()
		if err != nil {
			web.Error(w, 400)
			return
		}
		w.SendBytes(b)
	})})
	p := tc.dial()
	for _, size := range []int{0, 1, 100, collectMax - 1, collectMax, collectMax + 1, 1 << 20} {
		body := strings.Repeat("x", size)
		p.send(fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", size, body))
		if r := p.answer("POST"); r.Status != 200 || string(r.Body) != body {
			t.Fatalf("length %d: %d, %d bytes", size, r.Status, len(r.Body))
		}
		p.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		for rest := body; rest != ""; {
			n := min(len(rest), 5000)
			p.send(fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n]))
			rest = rest[n:]
		}
		p.send("0\r\n\r\n")
		if r := p.answer("POST"); r.Status != 200 || string(r.Body) != body {
			t.Fatalf("chunked %d: %d, %d bytes", size, r.Status, len(r.Body))
		}
	}
}
