package master

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// The test binary is three programs: the tests, a child that speaks the protocol and misbehaves as
// told, and a master in a process of its own.
func TestMain(m *testing.M) {
	switch {
	case control.Role() == control.RoleChild:
		os.Exit(fakeChild())
	case control.Role() == control.RoleHousekeeper:
		os.Exit(fakeHousekeeper())
	case os.Getenv("MASTER_TEST_CONTROL") != "":
		os.Exit(lonelyMaster())
	}
	os.Exit(m.Run())
}

// fake is a child for tests. FAKE_CHILD names its faults, comma separated; "N:fault" is for child
// N alone. FAKE_DIR is a folder that lives can leave notes in for one another.
type fake struct {
	h      control.Heritage
	faults map[string]bool
	dir    string
	shards []net.Listener
	server http.Server
	wg     sync.WaitGroup
	heir   heirlooms
	hang   atomic.Pointer[func()] // what the heart does in place of beating; nil: it beats
}

// beat plays the loop: its heart beats until it is told to do something that has no end.
func (f *fake) beat(life *board.Life) {
	life.Set(board.WordStarted, 2)
	life.Set(board.WordFinished, 2)
	life.Set(board.WordGeneration, 1)
	life.Set(board.WordConnections, 1)
	life.Set(board.WordPid, int64(os.Getpid()))
	for beat := int64(1); ; beat++ {
		life.Set(board.WordHeartbeat, beat)
		if hang := f.hang.Load(); hang != nil {
			(*hang)()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// hangs are ways to stop a loop.
var hangs = map[string]func(){"spin": hangInSpin, "syscall": hangInSyscall, "lock": hangInLock}

func hangInSpin() {
	for i := 0; ; i++ {
		_ = i
	}
}

func hangInSyscall() {
	var pipe [2]int
	_ = syscall.Pipe(pipe[:])
	_, _ = syscall.Read(pipe[0], make([]byte, 1)) // blocks the thread
}

func hangInLock() {
	var mu sync.Mutex
	mu.Lock()
	mu.Lock()
}

func fakeChild() int {
	env := strings.Join(os.Environ(), "\n")
	signal.Ignore(syscall.SIGPIPE, syscall.SIGINT, syscall.SIGHUP)
	f := &fake{faults: map[string]bool{}, dir: os.Getenv("FAKE_DIR")}
	index := os.Getenv(control.EnvChild)
	for _, fault := range strings.Split(os.Getenv("FAKE_CHILD"), ",") {
		if which, name, ok := strings.Cut(fault, ":"); ok && which == index {
			f.faults[name] = true
		} else if !ok {
			f.faults[fault] = true
		}
	}
	if f.faults["exit3"] {
		fmt.Fprintln(os.Stderr, "module sqlite: no such database")
		return 3
	}
	var err error
	if f.h, err = control.Inherited(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/exe", func(w http.ResponseWriter, _ *http.Request) {
		exe, _ := os.Readlink("/proc/self/exe")
		fmt.Fprint(w, exe)
	})
	mux.HandleFunc("/heritage", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pgid=%d uid=%d gid=%d\n%s\n", syscall.Getpgrp(), os.Getuid(), os.Getgid(), env)
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			fmt.Fprintf(w, "fd %s %s\n", e.Name(), target)
		}
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) {
		go func() { panic("as asked") }()
		select {}
	})
	mux.HandleFunc("/hang/{how}", func(_ http.ResponseWriter, r *http.Request) {
		for range 300 { // so that there is much to write down
			go func() { select {} }()
		}
		hang := hangs[r.PathValue("how")]
		f.hang.Store(&hang)
	})
	mux.HandleFunc("/abandon", func(http.ResponseWriter, *http.Request) { f.h.Conn.Close() })
	mux.HandleFunc("/print", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stdout, "printed "+strings.Repeat("x", 20_000))
		fmt.Fprintln(os.Stderr, "cried")
		for i := range 100 {
			_ = f.h.Conn.Send(&control.Log{Lines: fmt.Sprintf(`{"msg":"own line %d","child":%d}`+"\n", i, f.h.Child)})
		}
		_ = f.h.Conn.Send(&control.Log{Stream: control.StreamStdout, Lines: "access line\n"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Host == control.SelfHost && f.faults["unwell"] {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	f.server.Handler = mux
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		f.drain()
		os.Exit(0)
	}()
	return f.run()
}

func (f *fake) run() int {
	send := func(m control.Message) {
		if err := f.h.Conn.Send(m); err != nil {
			os.Exit(8)
		}
	}
	if f.faults["mute"] {
		select {}
	}
	send(&control.Hello{Pid: os.Getpid(), Version: "fake", Child: f.h.Child})
	for {
		m, files, err := f.h.Conn.Receive()
		switch {
		case errors.Is(err, os.ErrClosed):
			select {} // lives on without a master
		case err != nil && f.faults["orphan"] && f.heir.serves > 0:
			f.awaitMaster()
			continue
		case err != nil:
			return 0 // an orphan
		}
		switch m := m.(type) {
		case *control.Prepare:
			if f.faults["refuseagain"] && f.heir.serves > 0 {
				send(&control.Failed{Generation: m.Generation, Diagnostic: "site.hcl:9:9: not for me"})
				continue
			}
			if f.faults["refuse"] {
				send(&control.Failed{Generation: m.Generation, Diagnostic: "site.hcl:3:5: no such directory"})
				continue
			}
			if _, err := control.ReadSealed(files[0]); err != nil || len(files)-1 != len(m.Files) {
				return 7
			}
			for _, l := range files[1:] {
				fmt.Fprintln(l, "prepared")
			}
			digest := m.Digest
			if f.faults["otherdigest"] {
				digest = "other"
			}
			send(&control.Prepared{Generation: m.Generation, Digest: digest})
		case *control.Board:
			life, err := board.OpenLife(files[0])
			if err != nil || len(files) != 2 {
				return 10
			}
			go f.beat(life)
			f.heir.secret, f.heir.board = string(m.Secret), files
		case *control.Commit:
			f.heir.serves = m.Generation
			send(&control.Committed{Generation: m.Generation})
		case *control.Lend:
			for _, l := range files {
				listener, err := net.FileListener(l)
				if err != nil {
					return 6
				}
				f.heir.files = append(f.heir.files, l)
				if u, ok := listener.(*net.UnixListener); ok {
					u.SetUnlinkOnClose(false)
				}
				f.shards = append(f.shards, listener)
			}
			f.heir.shards = append(f.heir.shards, m.Shards...)
			send(&control.Lent{Count: len(f.shards)})
		case *control.Inject:
			if f.faults["hangproof"] {
				continue
			}
			c, err := net.FileConn(files[0])
			if err != nil {
				return 5
			}
			files[0].Close()
			go f.server.Serve(&once{c: c})
		case *control.Accept:
			if f.faults["exitonaccept"] {
				return 4
			}
			// deaf children accept nothing while nobody has left the note.
			if _, err := os.Stat(filepath.Join(f.dir, "hear")); !f.faults["deaf"] || err == nil {
				for _, s := range f.shards {
					f.wg.Go(func() { _ = f.server.Serve(s) })
				}
			}
			send(&control.Accepting{})
		case *control.Drain:
			if f.faults["stubborn"] {
				continue
			}
			if f.drain(); f.faults["slow"] {
				continue
			}
			return 0
		case *control.ReopenLogs:
			for _, l := range files {
				fmt.Fprintln(l, "reopened")
			}
			send(&control.Reopened{})
		case *control.Ping:
			_ = f.h.Conn.Send(&control.Pong{}) // who has asked may be gone, and another one come
		case *control.Resize:
			send(&control.Resized{})
		case *control.Report:
			send(&control.Reported{})
		}
	}
}

func (f *fake) drain() {
	for _, s := range f.shards {
		s.Close()
	}
	f.wg.Wait()
	_ = f.h.Conn.Send(&control.Draining{})
	_ = f.h.Conn.Send(&control.Drained{})
}

// once is a listener of one connection.
type once struct {
	c    net.Conn
	used bool
}

func (o *once) Accept() (net.Conn, error) {
	if o.used {
		return nil, io.EOF
	}
	o.used = true
	return o.c, nil
}
func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return o.c.LocalAddr() }
