package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// idleWriter is a writer that nothing is given to.
func idleWriter(t *testing.T) *logWriter {
	w := newLogWriter(func([]byte) { t.Error("written") })
	t.Cleanup(w.close)
	return w
}

func TestAccessLogEscapes(t *testing.T) {
	hostile := "\"quote\\back\x1b[31m\x00\x7f\xff\u00e9\t"
	kept := keptFields{remote: []byte("192.0.2.1"), method: []byte("GET"), target: []byte("/" + hostile), proto: []byte("HTTP/1.1"), host: []byte(hostile),
		referer: []byte(hostile), agent: []byte(hostile)}
	for _, json_ := range []bool{false, true} {
		a := &accessLog{site: "ma\"in", child: 3, json: json_, writer: idleWriter(t)}
		a.line(kept, 1700000000, 200, 1234, 1_500_000, reasonClientGone)
		line := string(a.batch)
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not one line: %q", line)
		}
		for _, b := range []byte(strings.TrimSuffix(line, "\n")) {
			if b < ' ' || b >= 0x7f {
				t.Fatalf("byte %#x in %q", b, line)
			}
		}
		if !json_ {
			want := `"GET /\x22quote\x5cback\x1b[31m\x00\x7f\xff\xc3\xa9\x09 HTTP/1.1" 200 1234 "\x22quote`
			if !strings.HasPrefix(line, "192.0.2.1 - - [") || !strings.Contains(line, want) {
				t.Errorf("%s does not have %s", line, want)
			}
			common := &accessLog{common: true, writer: idleWriter(t)}
			common.line(kept, 1700000000, 200, 1234, 1_500_000, reasonClientGone)
			if whole, _, _ := strings.Cut(line, " 1234 "); string(common.batch) != whole+" 1234\n" {
				t.Errorf("common: %q", common.batch)
			}
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		latin := func(s string) string { // each byte is a code point
			var b strings.Builder
			for _, c := range []byte(s) {
				b.WriteRune(rune(c))
			}
			return b.String()
		}
		for key, want := range map[string]any{"site": "ma\"in", "child": 3.0, "remote": "192.0.2.1", "method": "GET", "target": "/" + latin(hostile),
			"host": latin(hostile), "proto": "HTTP/1.1", "status": 200.0, "bytes": 1234.0, "duration_ms": 1.5, "referer": latin(hostile),
			"user_agent": latin(hostile), "closed": "client_gone"} {
			if fields[key] != want {
				t.Errorf("%s is %#v, want %#v", key, fields[key], want)
			}
		}
	}
}

func TestAccessLogOfAUnixClient(t *testing.T) {
	for _, json_ := range []bool{false, true} {
		a := &accessLog{json: json_, writer: idleWriter(t)}
		kept := a.keep(nil, &web.Request{Method: "GET", Target: "/", Minor: 1})
		a.line(keptOf(kept), 1, 200, 0, 0, reasonNone)
		if line := string(a.batch); !strings.Contains(line, "unix") || strings.Contains(line, "closed") || !json_ && !strings.HasSuffix(line, ` "-" "-"`+"\n") {
			t.Errorf("%q", line)
		}
	}
}

// Every exchange has a line, with what was sent of it.
func TestAccessLogLines(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "site \"main\" {\n  access_log {\n    file = \"stdout\"\n  }\n}\n", routes{
		"GET /x": text("hello"),
		"/now":   nowHandler(func(w *web.Response, r *web.Request) { w.SendString("now!") }),
		"POST /b": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			b, _ := r.Body.Bytes()
			w.SendBytes(b)
		}),
		"GET /s": web.HandlerFunc(func(w *web.Response, r *web.Request) {
			for range 10 {
				w.Write(make([]byte, 10_000))
			}
		}),
		"GET /wait": web.HandlerFunc(func(w *web.Response, r *web.Request) { <-r.Context().Done(); <-gate }),
	})
	p := tc.dial()
	p.send("GET /x?q=1 HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: test \"1\"\r\n\r\n")
	p.answer("GET")
	p.get("/now")
	p.send("HEAD /now HTTP/1.1\r\nHost: x\r\n\r\n")
	p.answer("HEAD")
	p.send(post("/b", length(50_000), strings.Repeat("b", 50_000)))
	p.answer("POST")
	p.get("/s")
	p.get("/nowhere")
	gone := tc.dial()
	gone.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.until("it waits", func(l *loop) bool { return l.numbers.begun == 7 })
	gone.reset()
	want := []string{
		`"GET /x?q=1 HTTP/1.1" 200 5 "http://r/" "test \x221\x22"`,
		`"GET /now HTTP/1.1" 200 4 "-" "-"`,
		`"HEAD /now HTTP/1.1" 200 0 "-" "-"`,
		`"POST /b HTTP/1.1" 200 50000 "-" "-"`,
		`"GET /s HTTP/1.1" 200 100000 "-" "-"`,
		`"GET /wait HTTP/1.1" 499 0 "-" "-"`,
	}
	tc.until("all lines are written", func(*loop) bool {
		return strings.Count(tc.loggedLines(), "\n") >= len(want)+1 || strings.Contains(tc.loggedLines(), "499")
	})
	for _, line := range want {
		if strings.Count(tc.loggedLines(), line+"\n") != 1 {
			t.Errorf("no line, or more than one, with %s in\n%s", line, tc.loggedLines())
		}
	}
	close(gate)
}

// The lines of exchanges that began before a reload are written, too.
func TestAccessLogAcrossACommit(t *testing.T) {
	gate := make(chan struct{})
	tc := start(t, "site \"main\" {\n  access_log {\n    file = \"stdout\"\n  }\n}\n", routes{
		"GET /slow": web.StringFunc(func(*web.Request) string { <-gate; return "slow" }),
	})
	p := tc.dial()
	p.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	tc.inState(BeingProcessed)
	tc.commitNext("", 2)
	close(gate)
	p.answer("GET")
	tc.until("its line is written", func(*loop) bool { return strings.Contains(tc.loggedLines(), "GET /slow HTTP/1.1\" 200") })
}

// Two processes append to one file: no line is torn.
func TestAccessLogsOfTwoProcesses(t *testing.T) {
	const lines = 3000
	if name := os.Getenv("TINED_TEST_LOG"); name != "" {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := newLogWriter(func(b []byte) {
			if _, err := f.Write(b); err != nil {
				t.Error(err)
			}
		})
		a := &accessLog{site: os.Getenv("TINED_TEST_NAME"), json: true, writer: w}
		for i := range lines {
			agent := strings.Repeat("a", i%700)
			a.line(keptFields{method: []byte("GET"), target: []byte("/" + strconv.Itoa(i)), agent: []byte(agent)}, 1, 200, int64(len(agent)), 0, reasonNone)
			if len(a.batch) >= accessBatch {
				for len(w.batches) == cap(w.batches) { // here no line may be dropped
					runtime.Gosched()
				}
				a.flush()
			}
		}
		a.flush()
		w.close()
		return
	}
	name := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var writers []*exec.Cmd
	for i := range 2 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAccessLogsOfTwoProcesses$")
		cmd.Env = append(os.Environ(), "TINED_TEST_LOG="+name, fmt.Sprintf("TINED_TEST_NAME=p%d", i))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, cmd)
	}
	for _, cmd := range writers {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := map[string]int{}
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		var line struct {
			Site, Target string
			Bytes        int
			Agent        string `json:"user_agent"`
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || line.Bytes != len(line.Agent) {
			t.Fatalf("a torn line: %v: %s", err, scanner.Text())
		}
		if line.Target != "/"+strconv.Itoa(next[line.Site]) {
			t.Fatalf("line %s of process %s, want %d", line.Target, line.Site, next[line.Site])
		}
		next[line.Site]++
	}
	if next["p0"] != lines || next["p1"] != lines {
		t.Errorf("%v lines", next)
	}
}
