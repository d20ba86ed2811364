package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// oddNames are names of folders that no text of a configuration takes as they are. written: one can stand there.
var oddNames = map[string]struct{ written bool }{
	"plain":                {true},
	`quo"tes and spaces'`:  {true},
	"${template} %{ if }":  {true},
	"$${escaped}":          {true},
	`back\slash\n`:         {true},
	"new\nline # {\r\t":    {true},
	"-dash":                {true},
	"bell\a\x7f":           {true},
	"größe 資料 \U0001f600":  {true},
	"line\u2028separator":  {true},
	"latin1 \xff\xfe":      {false},
	"decomposed u\u0308":   {false},
	"replacement \ufffd":   {true},
	"trailing backslash\\": {true},
}

// A folder is served whatever it is called, on the URL that is printed, until SIGINT.
func TestServeFolders(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for name := range oddNames {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("in "+name), 0o644); err != nil {
			t.Fatal(err)
		}
		s := startFolder(t, base, "serve", "--listen", "127.0.0.1:0", "--", name)
		url := s.url(`(?m)^(http://127\.0\.0\.1:[1-9][0-9]*/)  this machine only$`)
		if body := fetch(t, url); body != "in "+name {
			t.Errorf("%q: %q", name, body)
		}
		s.out.await(func(text []byte) bool { return bytes.Contains(text, []byte(`] "GET / HTTP/1.1" 200 `)) }, s.ended)
		if lines := strings.Count(string(s.out.bytes()), "\n"); lines != 3 {
			t.Errorf("%q: %d lines, not those of the folder, the URL and the request:\n%s", name, lines, s.out.bytes())
		}
		s.end(syscall.SIGINT)
	}
}

// On all addresses the URLs of this machine are printed, and lead to the folder.
func TestServeOnAllAddresses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startFolder(t, dir, "serve", "--listen", "0")
	url := s.url(`(?m)^(http://localhost:[1-9][0-9]*/) +this machine$`)
	if body := fetch(t, url+"a.txt"); body != "abc" {
		t.Errorf("%q", body)
	}
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	// Who takes the port next is told who has it, and how to take another.
	out, err := exec.Command(filepath.Join(programs, "tined"), "serve", dir, "-l", port).CombinedOutput()
	want := regexp.MustCompile(`^tined: (\[::\]|0\.0\.0\.0):` + port + ` is in use by tined \(pid [0-9]+\); choose another port with --listen, such as :0 for any that is free\n$`)
	if err == nil || !want.Match(out) {
		t.Errorf("%v: %s", err, out)
	}
	s.end(syscall.SIGHUP)
}

// What init writes for a folder is valid whatever the folder is called, or it is refused.
func TestInitFolders(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	tined := func(args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(programs, "tined"), args...)
		cmd.Dir = base
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, odd := range oddNames {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"./" + name, filepath.Join(base, name)} {
			out, err := tined("init", "--force", "--static", dir, "--listen", "127.0.0.1:0")
			if !odd.written {
				if err == nil || !strings.Contains(out, "cannot stand in a configuration") {
					t.Errorf("%q: %v, %s", dir, err, out)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%q: %s", dir, out)
			}
			if out, err := tined("check", "tined.hcl"); err != nil || out != "tined.hcl: ok\n" {
				t.Errorf("%q: %s", dir, out)
			}
		}
	}
}

// All that init writes as a comment can be taken into service.
func TestInitComments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "-o", "-"}, {"init", "-o", "-", "--static", dir}} {
		out, err := exec.Command(filepath.Join(programs, "tined"), args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile(`(?m)^ +# [A-Z].*\.$`).ReplaceAllString(string(out), "")
		settings := regexp.MustCompile(`(?m)^( +)# `).ReplaceAllString(prose, "$1")
		if settings == prose {
			t.Errorf("%q: nothing is commented out:\n%s", args, out)
		}
		check(t, settings)
	}
}

// folder is a `tined serve` that runs.
type folder struct {
	t         *testing.T
	cmd       *exec.Cmd
	out, errs *output
	ended     chan struct{}
}

func startFolder(t *testing.T, dir string, args ...string) *folder {
	t.Helper()
	f := &folder{t: t, cmd: exec.Command(filepath.Join(programs, "tined"), args...), ended: make(chan struct{})}
	f.cmd.Dir = dir
	logs := t.TempDir()
	var err error
	if f.out, err = newOutput(filepath.Join(logs, "out")); err != nil {
		t.Fatal(err)
	}
	if f.errs, err = newOutput(filepath.Join(logs, "err")); err != nil {
		t.Fatal(err)
	}
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.errs
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = f.cmd.Wait() // end looks at the state
		close(f.ended)
	}()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		<-f.ended
		f.out.close()
		f.errs.close()
	})
	return f
}

// url is the first submatch in what was printed, once it is there.
func (f *folder) url(pattern string) string {
	f.t.Helper()
	re := regexp.MustCompile(pattern)
	f.out.await(re.Match, f.ended)
	match := re.FindSubmatch(f.out.bytes())
	if match == nil {
		f.t.Fatalf("%q is not in:\n%s%s", pattern, f.out.bytes(), f.errs.bytes())
	}
	return string(match[1])
}

// end ends it by a signal, which must leave it no error.
func (f *folder) end(s syscall.Signal) {
	f.t.Helper()
	if err := f.cmd.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
	select {
	case <-f.ended:
	case <-time.After(patience):
		f.t.Fatal("it does not end")
	}
	if status := f.cmd.ProcessState.ExitCode(); status != 0 {
		f.t.Errorf("status %d: %s", status, f.errs.bytes())
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
