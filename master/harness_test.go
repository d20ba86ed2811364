package master

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/configs"
)

// patience bounds every wait of the tests; it passes only when a test fails.
const patience = 60 * time.Second

// lines is a writer that can be waited on.
type lines struct {
	mu      sync.Mutex
	content bytes.Buffer
	more    chan struct{} // closed and replaced at every write
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.content.Write(p)
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.String()
}

// wait returns the submatches of the nth (from 1) match of pattern, once it is there.
func (l *lines) wait(t *testing.T, pattern string, nth int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	bound := time.After(patience)
	for {
		l.mu.Lock()
		all, more := re.FindAllStringSubmatch(l.content.String(), -1), l.more
		l.mu.Unlock()
		if len(all) >= nth {
			return all[nth-1]
		}
		select {
		case <-more:
		case <-bound:
			t.Fatalf("no match %d of %q in:\n%s", nth, pattern, l)
		}
	}
}

// testConfig listens on a free port of loopback with two children.
func testConfig(dir string) *configs.Config {
	return &configs.Config{
		Path: "/etc/test.hcl", Children: 2, Control: filepath.Join(dir, "control.sock"), DrainTimeout: 20 * time.Second,
		Log: configs.Log{Level: "debug", Format: "json"},
		Listeners: []configs.Listener{{Name: "main", Address: configs.Address{
			Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0"),
		}}},
		Digest: "0123456789abcdef",
	}
}

// harness is a master with real processes inside the test.
type harness struct {
	t              *testing.T
	m              *master
	stdout, stderr *lines
	signals        chan os.Signal
	exit           chan int
	base           string         // the URL of the first listener
	local          netip.AddrPort // of the first listener
}

// launch starts a master; change may be nil. It does not wait for the children.
func launch(t *testing.T, config *configs.Config, change func(*master)) *harness {
	t.Helper()
	return launchWith(t, Options{}, config, change)
}

// launchWith is launch with what a program gives its master.
func launchWith(t *testing.T, o Options, config *configs.Config, change func(*master)) *harness {
	t.Helper()
	h := &harness{t: t, stdout: newLines(), stderr: newLines(), signals: make(chan os.Signal, 4), exit: make(chan int, 1)}
	o.Version, o.Path, o.Stdout, o.Stderr = "v0-test", "test.hcl", h.stdout, h.stderr
	m, err := open(o.withDefaults(), config, new(configs.Sources))
	if err != nil {
		t.Fatal(err)
	}
	h.m, m.signals = m, h.signals
	if change != nil {
		change(m)
	}
	if l := m.shards.listeners[0]; l.local.Network == "tcp" {
		h.local = l.local.Addr
		h.base = "http://" + l.local.String()
	}
	finished := make(chan struct{})
	go func() { h.exit <- m.run(); close(finished) }()
	t.Cleanup(func() {
		for range 3 {
			select {
			case h.signals <- syscall.SIGINT:
			case <-finished:
			}
		}
		<-finished
		if t.Failed() {
			t.Logf("log:\n%s", h.stderr)
		}
	})
	return h
}

// serve is launch, and the wait for the start line.
func serve(t *testing.T, config *configs.Config, change func(*master)) *harness {
	t.Helper()
	h := launch(t, config, change)
	h.stdout.wait(t, "serving http", 1)
	return h
}

// wait waits for the nth log line that matches.
func (h *harness) wait(pattern string, nth int) []string {
	h.t.Helper()
	return h.stderr.wait(h.t, pattern, nth)
}

func (h *harness) exitCode() int {
	h.t.Helper()
	select {
	case code := <-h.exit:
		return code
	case <-time.After(patience):
		h.t.Fatalf("the master does not end; log:\n%s", h.stderr)
		return -1
	}
}

func (h *harness) status() *Status {
	h.t.Helper()
	s, err := NewClient(h.m.runtime.control).Status(h.context())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *harness) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

// pid is the process of the child, once it serves in its nth life.
func (h *harness) pid(child, nth int) int {
	h.t.Helper()
	match := h.wait(fmt.Sprintf(`"child is serving","child":%d,"pid":(\d+)`, child), nth)
	pid, err := strconv.Atoi(match[1])
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

func (h *harness) get(target string) (string, error) {
	return get(h.context(), h.base+target)
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// lonelyMaster is a master in a process of its own, for tests of its image and of its death.
func lonelyMaster() int {
	config := testConfig(filepath.Dir(os.Getenv("MASTER_TEST_CONTROL")))
	config.Control = os.Getenv("MASTER_TEST_CONTROL")
	config.Children = 1
	if n, err := strconv.Atoi(os.Getenv("MASTER_TEST_CHILDREN")); err == nil {
		config.Children = n
	}
	m, err := open(Options{Stdout: os.Stdout, Stderr: os.Stderr, Version: "v0-test"}.withDefaults(), config, new(configs.Sources))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitRefused
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	m.signals = signals
	return m.run()
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}
