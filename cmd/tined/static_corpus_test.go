package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/child/http1/http1test"
)

// The corpora of static: static_*_test.go hold the file server against RFC 9110 and its page in the documentation, over sockets and by
// oracles of their own. They know nothing of its code.
//
//	static_ranges_test.go      section 14: Range, If-Range, multipart/byteranges
//	static_conditions_test.go  section 13: preconditions; 12.5.3: the forms of compressed files
//	static_paths_test.go       which paths reach which file, and which reach none
//	static_special_test.go     what is no plain file, and every name that a file can have

// origin is a running server.
type origin struct {
	t       *testing.T
	address string
	log     *folder
}

// startOrigin serves with configuration, to which the listener is added, and two children if it says nothing of them. dir is its directory.
func startOrigin(t *testing.T, dir, configuration string) *origin {
	t.Helper()
	text := "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\n" + configuration
	if !strings.HasPrefix(configuration, "children") {
		text = "children = 2\n" + text
	}
	writeFile(t, filepath.Join(dir, "tined.hcl"), []byte(text))
	f := startFolder(t, dir, "run", "-c", "tined.hcl", "--control", "control.sock")
	o := &origin{t: t, address: strings.TrimPrefix(strings.TrimRight(f.url(startLine.String()), ","), "http://"), log: f}
	t.Cleanup(func() {
		f.end(syscall.SIGTERM)
		for line := range strings.SplitSeq(string(f.errs.bytes()), "\n") {
			if strings.Contains(line, `"level":"error"`) || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
				t.Errorf("the server's log: %s", line)
			}
		}
	})
	return o
}

// newPlace makes a directory that every user may look into, as t.TempDir is not.
func newPlace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tined")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func makeDir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(name, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// settle gives a file a time of change that is long ago. (Its ctime is now: a server may go by that for some seconds.)
func settle(t *testing.T, name string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that differ at every offset, and are the same in every run.
func noise(n int) []byte {
	content := make([]byte, n)
	seed := [32]byte{byte(n), byte(n >> 8), byte(n >> 16)}
	_, _ = rand.NewChaCha8(seed).Read(content) // it has no error
	return content
}

// question is a request, byte for byte, with what its answer has to be.
type question struct {
	method string
	wire   string
	judge  func(*http1test.Response) error
}

// request writes the head of a request. Each of lines is a whole field line without its end.
func request(method, host, target string, lines ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, line := range lines {
		text += line + "\r\n"
	}
	return text + "\r\n"
}

const (
	askers  = 2   // connections at a time
	batch   = 256 // requests of one connection
	few     = 6   // and of one after another that the server has closed
	maxTold = 15  // faults of one corpus that are printed
)

// ask asks everything, or every third question where that is slow or not wanted, and fails the test for what is wrong.
func (o *origin) ask(questions []question) {
	o.t.Helper()
	if testing.Short() || slices.Contains(buildFlags, "-race") {
		var some []question
		for i := 0; i < len(questions); i += 3 {
			some = append(some, questions[i])
		}
		questions = some
	}
	o.tell(o.faults(questions), len(questions))
}

func (o *origin) tell(faults []error, of int) {
	o.t.Helper()
	for _, err := range faults[:min(len(faults), maxTold)] {
		o.t.Error(err)
	}
	if len(faults) > 0 {
		o.t.Errorf("%d of %d answers are wrong", len(faults), of)
	}
}

// faults asks everything, pipelined, on a few connections, and judges the answers. The server must not lose the step: every connection ends
// by a request with `Connection: close`, after whose answer nothing may follow.
func (o *origin) faults(questions []question) (faults []error) {
	o.t.Helper()
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	tell := func(q question, err error) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, fmt.Errorf("%q: %w", cut(q.wire), err))
	}
	work := make(chan []question)
	for range askers {
		wg.Go(func() {
			for part := range work {
				for n := len(part); len(part) > 0; {
					n = min(n, len(part))
					answered := o.converse(part[:n], tell)
					part = part[answered:]
					if answered < n {
						n = few // who is closed often should not send much in vain
					} else {
						n *= 2
					}
				}
			}
		})
	}
	for rest := questions; len(rest) > 0; {
		n := min(batch, len(rest))
		work <- rest[:n]
		rest = rest[n:]
	}
	close(work)
	wg.Wait()
	return faults
}

// converse asks on one connection, until the server closes it, and returns how many questions that has answered: one at least.
func (o *origin) converse(questions []question, tell func(question, error)) int {
	c, err := dial(o.address)
	if err != nil {
		tell(questions[0], err)
		return len(questions)
	}
	defer c.Close()
	var wire bytes.Buffer
	for _, q := range questions {
		wire.WriteString(q.wire)
	}
	wire.WriteString("OPTIONS * HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n")
	written := make(chan struct{})
	go func() {
		_, _ = c.Write(wire.Bytes()) // the server may close before it has read all; what is missing is missed below
		close(written)
	}()
	defer func() { _ = c.Close(); <-written }()
	in := http1test.NewReader(c)
	for i, q := range questions {
		res, err := in.Read(q.method)
		if err != nil {
			// A close with bytes unread is a reset, which may overtake the answer. Alone the question has no such excuse.
			if errors.Is(err, syscall.ECONNRESET) && len(questions) > 1 {
				o.converse(questions[i:i+1], tell)
			} else {
				tell(q, err)
			}
			return i + 1
		}
		if err := judged(q, res); err != nil {
			tell(q, err)
		}
		if res.Close {
			return i + 1
		}
	}
	last := questions[len(questions)-1]
	if res, err := in.Read("OPTIONS"); err != nil || !res.Close {
		tell(last, fmt.Errorf("the request after it: %+v, %v", res, err))
	} else if rest, err := io.ReadAll(in.Rest()); err != nil && !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
		tell(last, fmt.Errorf("after the last answer: %q, %v", rest, err))
	}
	return len(questions)
}

// judged is the question's own judgement, after what goes for all answers.
func judged(q question, res *http1test.Response) error {
	if res.Status < 500 && res.Status != 400 && !res.Fields.Has("Date") {
		return fmt.Errorf("%d without Date", res.Status) // RFC 9110, 6.6.1
	}
	for _, name := range []string{"Date", "ETag", "Last-Modified", "Content-Type", "Content-Range", "Content-Encoding", "Location"} {
		if len(res.Fields.All(name)) > 1 {
			return fmt.Errorf("%d with several %s: %q", res.Status, name, res.Fields.All(name))
		}
	}
	return q.judge(res)
}

// once asks one question on a connection of its own.
func (o *origin) once(method, wire string) *http1test.Response {
	o.t.Helper()
	c, err := dial(o.address)
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, wire); err != nil {
		o.t.Fatal(err)
	}
	res, err := http1test.NewReader(c).Read(method)
	if err != nil {
		o.t.Fatalf("%q: %v", cut(wire), err)
	}
	return res
}

// get is a GET on a connection of its own, which must be answered with status.
func (o *origin) get(status int, host, target string, lines ...string) *http1test.Response {
	o.t.Helper()
	res := o.once("GET", request("GET", host, target, lines...))
	if res.Status != status {
		o.t.Fatalf("GET %s (%s): %d, not %d", target, host, res.Status, status)
	}
	return res
}

func cut(text string) string {
	if len(text) > 400 {
		return text[:300] + "…" + text[len(text)-100:]
	}
	return text
}

// differ says where two texts begin to differ, "" if nowhere.
func differ(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	return fmt.Sprintf("%d bytes, not %d, equal up to %d", len(got), len(want), n)
}
