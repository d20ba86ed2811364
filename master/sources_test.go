package master

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// inMemory are options of a master whose configuration no file holds; text is read anew each time.
func inMemory(dir string, text *atomic.Pointer[string]) Options {
	return Options{Schema: new(configs.Schema), Sources: func() (*configs.Sources, configs.Diagnostics) {
		return &configs.Sources{Dir: dir, Files: []configs.Source{{Name: "memory", Bytes: []byte(*text.Load())}}}, nil
	}}
}

func memoryText(dir, top string) *string {
	text := fmt.Sprintf("control = %q\n%s\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n}\n", filepath.Join(dir, "c.sock"), top)
	return &text
}

// A configuration without a file is read at the start and at every reload, and its mistakes are named by its place.
func TestSourcesInMemory(t *testing.T) {
	dir := t.TempDir()
	var text atomic.Pointer[string]
	text.Store(memoryText(dir, `drain_timeout = "1m"`))
	o := inMemory(dir, &text)
	o.Announce = func(at []configs.Address) string { return fmt.Sprintf("here: %v\nand no more\n", at) }
	config, _, diagnostics := resolve(o)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics.Err())
	}
	o.Host = servesNothing
	h := launchWith(t, o, config, nil)
	h.stdout.wait(t, `^here: \[127\.0\.0\.1:[1-9]\d*\]\nand no more\n$`, 1)
	client := NewClient(h.m.runtime.control)
	if s := h.status(); s.Configuration != "" || s.Generation != 1 {
		t.Errorf("%+v", s)
	}

	text.Store(memoryText(dir, `drain_timeout = "2m"`))
	if p, err := client.Plan(h.context()); err != nil || len(p.Changes) != 1 || p.Refused != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if r, err := client.Reload(h.context()); err != nil || !r.Committed || r.Generation != 2 || len(r.Changes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	text.Store(memoryText(dir, `drain_timeout = "soon"`))
	if r, err := client.Reload(h.context()); err != nil || r.Committed || !strings.Contains(r.Reason, "memory:2:17: ") {
		t.Errorf("%+v, %v", r, err)
	}
	line := ""
	if h.m.do(func() { line = h.m.startLine(1) }); !strings.HasSuffix(line, " without a configuration file") { // harness sets Path as well
		t.Errorf("%q", line)
	}

	out, err := newLines(), newLines()
	o.Stdout, o.Stderr = out, err
	if code := Run(o); code != exitRefused || !strings.HasPrefix(err.String(), "memory:2:17: ") || out.String() != "" {
		t.Errorf("exit code %d, %q, %q", code, out, err)
	}
}

// stubborn is servesNothing that ends only when it is told to close everything.
func stubborn(index int, conn *control.Conn) int {
	ours, theirs, err := control.Pair()
	if err != nil {
		return 1
	}
	child, err := control.New(theirs)
	if err != nil {
		return 1
	}
	go servesNothing(index, child)
	defer ours.Close()
	go func() { // what it says
		for {
			m, _, err := ours.Receive()
			if err != nil {
				return
			}
			if _, ends := m.(*control.Drained); !ends {
				_ = conn.Send(m)
			}
		}
	}()
	defer conn.Close()
	for {
		m, files, err := conn.Receive()
		if err != nil {
			return 1
		}
		if d, ok := m.(*control.Drain); ok && d.TimeoutMillis == 0 {
			_ = conn.Send(&control.Drained{})
			return 0
		} else if ok {
			_ = conn.Send(&control.Draining{})
			continue
		}
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		_ = ours.Send(m, fds...)
		for _, f := range files {
			f.Close()
		}
	}
}

// In the foreground the first ^C finishes what is in flight, as the end of the terminal does, and the second one does not wait. Elsewhere ^C
// never waits.
func TestForeground(t *testing.T) {
	for _, first := range []os.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		h := host(t, Options{Foreground: true}, stubborn)
		h.stdout.wait(t, "serving", 1)
		h.signals <- first
		h.wait(`"stopping","fast":false`, 1)
		h.signals <- syscall.SIGINT
		if code := h.exitCode(); code != 0 {
			t.Errorf("%v: exit code %d", first, code)
		}
	}
	h := host(t, Options{}, stubborn)
	h.stdout.wait(t, "serving", 1)
	h.signals <- syscall.SIGINT
	h.wait(`"stopping","fast":true`, 1)
	if code := h.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
