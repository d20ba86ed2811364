package main

import (
	"debug/elf"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRoleIn(t *testing.T) {
	for line, want := range map[string]struct {
		child string
		ok    bool
	}{
		"/tmp/good-1\x00run\x00-c\x00storm.hcl\x00": {"", true},
		"unruly: child 1\x00":                       {"child 1", true},
		"/tmp/image-0\x00upgrade\x00":               {"", false},
		"sh\x00-c\x00while :; do :; done\x00":       {"", false},
		"":                                          {"", false},
	} {
		if child, ok := roleIn(line); child != want.child || ok != want.ok {
			t.Errorf("%q: %q, %t", line, child, ok)
		}
	}
}

func TestOf(t *testing.T) {
	all := []process{{pid: 1, image: "/a"}, {pid: 2, image: "/a", child: "child 0"}, {pid: 3, image: "/b"}, {pid: 4, image: "/b", child: "child 0"}}
	if got := of(all, "/a", false); !slices.Equal(got, all[1:2]) {
		t.Errorf("children of /a: %+v", got)
	}
	if got := of(all, "/b", true); !slices.Equal(got, all[2:3]) {
		t.Errorf("masters of /b: %+v", got)
	}
}

// An image gets names one after the other, and takes the place of another file of its name.
func TestImages(t *testing.T) {
	folder := t.TempDir()
	var binaries []string
	for _, name := range []string{"one", "two"} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		binaries = append(binaries, path)
	}
	im, err := (&trial{folder: folder}).newImages(binaries...)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 1, 0} {
		path, err := im.link(i, "server")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || string(text) != filepath.Base(binaries[i]) {
			t.Errorf("%q, %v", text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o100 == 0 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(folder, "*.next")); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// No kernel runs a foreign executable, and it is still one.
func TestForeign(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "foreign")
	if err := foreign(path, self); err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != elf.EM_PDP10 {
		t.Errorf("machine %s", f.Machine)
	}
	if err := exec.Command(path).Run(); !errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("run: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no ELF file, and long enough"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := foreign(path, text); err == nil {
		t.Error("a text was taken for an executable")
	}
}

func TestChosenCases(t *testing.T) {
	for cases, want := range map[string]int{"all": len(sicknesses), "missing": 1, "orphaned,missing": 2, "missing,nonsense": -1, "": -1} {
		chosen, err := (&trial{sizes: sizes{cases: cases}}).chosenCases()
		if (err != nil) != (want < 0) || err == nil && len(chosen) != want {
			t.Errorf("%q: %d cases, %v", cases, len(chosen), err)
		}
	}
	seen := make(map[string]bool)
	for _, s := range sicknesses {
		if seen[s.name] || s.name == "" || s.about == "" {
			t.Errorf("%q is there twice, or says nothing", s.name)
		}
		seen[s.name] = true
	}
	for _, s := range scenarios {
		if s.sizes.cases != "" {
			if _, err := (&trial{sizes: s.sizes}).chosenCases(); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for output, c := range map[string]struct {
		code int
		ok   bool
	}{
		"started\ntined: upgrade: the new version has exited with 3\n": {1, true},
		"done\n":                               {0, false},
		"tined: unknown command\n":             {2, false},
		"\n":                                   {1, false},
		"panic: x\n\ngoroutine 1 [running]:\n": {1, false},
		strings.Repeat("long ", 200):           {1, false},
	} {
		one := upgraded{output: output, code: c.code}
		if err := new(trial).refused(one); (err == nil) != c.ok {
			t.Errorf("%q, %d: %v", output, c.code, err)
		}
		if err := one.err(); (err == nil) != (c.code == 0) {
			t.Errorf("%q, %d: %v", output, c.code, err)
		}
	}
	if got := (upgraded{output: "started\nthe reason \n\n"}).sentence(); got != "the reason" {
		t.Errorf("sentence %q", got)
	}
}

// Where a version may be taken back, a connection may go back; and no further.
func TestEpochBack(t *testing.T) {
	e := &epoch{back: true}
	c := e.watch(new(crowd))
	e.serves(3)
	e.writes(5)
	m := new(member)
	for _, one := range []struct {
		body string
		ok   bool
	}{{"5", true}, {"3", true}, {"2", false}} {
		c.before(m)
		if err := c.judge(m, []byte(one.body)); (err == nil) != one.ok {
			t.Errorf("%q: %v", one.body, err)
		}
	}
}

// A slow exchange that is cut off is a failure of its kind, and one that is whole is none.
func TestStreams(t *testing.T) {
	for name, c := range map[string]struct {
		exchange func(net.Conn) error
		answer   func(net.Conn)
		want     Loss
	}{
		"whole upload": {upload, func(conn net.Conn) { echoOne(conn, uploadSize) }, ""},
		"half upload":  {upload, func(conn net.Conn) { echoOne(conn, uploadSize/2) }, LossClosed},
		"no answer":    {download, func(net.Conn) {}, LossClosed},
		"wrong answer": {download, func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") }, LossWrong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				head := make([]byte, 0, 1024)
				for !strings.HasSuffix(string(head), "\r\n\r\n") {
					var b [1]byte
					if _, err := conn.Read(b[:]); err != nil {
						return
					}
					head = append(head, b[0])
				}
				c.answer(conn)
			}()
			s := &streams{ground: &ground{address: netip.MustParseAddrPort(l.Addr().String())}, exchange: c.exchange}
			f := s.one()
			switch {
			case f == nil:
				if c.want != "" {
					t.Error("it is whole")
				}
			case classify(*f, nil) != c.want || !f.From.IsValid():
				t.Errorf("%+v", f)
			}
		})
	}
}

// echoOne reads a body, and answers it with so much of it as it says.
func echoOne(conn net.Conn, send int) {
	body := make([]byte, uploadSize)
	if _, err := io.ReadFull(conn, body); err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 49152\r\n\r\n")
	conn.Write(body[:send])
}

// Who has died and has nobody else is buried, and nobody else.
func TestBury(t *testing.T) {
	s := &server{own: make(map[int]bool), ended: make(chan struct{})}
	out, code, err := s.run("sh", "-c", "echo well; exit 3")
	if err != nil || code != 3 || out != "well\n" || len(s.own) != 0 {
		t.Fatalf("%q, %d, %v, %v", out, code, err, s.own)
	}
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.own[pid] = true
	for begin := time.Now(); !gone(pid); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatal("it does not end")
		}
	}
	if s.buryOne() {
		t.Error("one is buried that somebody waits for")
	}
	s.disown(pid)
	if !s.buryOne() {
		t.Error("nobody is buried")
	}
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("it is still there: %d, %v", got, err)
	}
}
