// Command unruly is a server for storm: tined with handlers and a module that misbehave when they are told to. As a file called sick-NAME
// it is sick, and built with -X main.told=FILE it has what stands in that file (sick.go).
//
// The function "hang" stops its child's loop, in the way that ?how= says, for ?ms= milliseconds, or for ever:
//
//	spin     computes
//	block    waits in a system call
//	wedge    waits in a system call that the Go scheduler does not know of: no goroutine of the child runs any more
//
// The function "echo" sends what it gets, and "sick" answers "well", unless the executable is sick. "hello", which tined has too, is the same
// as "sick": so a configuration of tined's is one of unruly's, and in a package it takes the place of tined with -X main.name=tined and
// -X main.version=VERSION.
//
// The module "unruly" answers with the text that it is given, the child's index and its process id, from the loop. When a generation
// is opened it can be slow, refuse, or kill its own child:
//
//	unruly {
//	  answer    = "7"
//	  wait      = "300ms"       // before it opens
//	  refuse_in = 1             // the child with this index
//	  die_in    = 1             // the child with this index, by SIGKILL; "all": every child
//	  once      = "/tmp/died"   // only while this file does not exist; it is made first
//	}
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/tined/tined"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

// What the linker may set.
var (
	name    = "unruly"
	version string
)

func main() {
	p := tined.New(tined.Options{Name: name, Version: version, Short: "a server that misbehaves", Modules: []module.Module{unruly{}}})
	p.FuncHandler("hang", hang{})
	p.FuncHandler("echo", tined.HandlerFunc(echo))
	p.FuncHandler("sick", tined.HandlerFunc(sick))
	p.FuncHandler("hello", tined.HandlerFunc(sick))
	p.OnChildStart(func(context.Context, tined.Child) error {
		mute()
		return nil
	})
	fallIll()
	p.Main()
}

// echo sends what it gets.
func echo(w *tined.Response, r *tined.Request) {
	body, err := r.Body.Bytes()
	if err != nil {
		tined.Error(w, tined.StatusOf(err))
		return
	}
	w.SendBytes(body)
}

// hang stops the loop.
type hang struct{}

func (h hang) Serve(w *tined.Response, r *tined.Request) { h.ServeNow(w, r) }

func (hang) ServeNow(w *tined.Response, r *tined.Request) bool {
	ms, err := strconv.Atoi(r.QueryValue("ms"))
	if err != nil {
		ms = 0
	}
	bound := time.Duration(ms) * time.Millisecond
	switch r.QueryValue("how") {
	case "spin":
		for begin := time.Now(); bound == 0 || time.Since(begin) < bound; {
		}
	case "block":
		for begin := time.Now(); bound == 0 || time.Since(begin) < bound; {
			step := syscall.NsecToTimespec(pause)
			_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&step)), 0, 0, 0)
		}
	case "wedge":
		for begin := time.Now(); bound == 0 || time.Since(begin) < bound; {
			step := syscall.NsecToTimespec(pause)
			_, _, _ = syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&step)), 0, 0, 0)
		}
	default:
		tined.Error(w, 400)
		return true
	}
	w.SendString("back\n")
	return true
}

// pause is one wait of a blocked loop, in ns: a signal that is handled ends one, and the next begins.
const pause = int64(100 * time.Millisecond)

// unruly is the module.
type unruly struct{}

func (unruly) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "unruly",
		Doc:  "answers, and misbehaves when a generation is opened",
		Attributes: []configs.Attribute{
			{Name: "answer", Type: configs.String, Default: "", Doc: "begin of the body"},
			{Name: "wait", Type: configs.Duration, Default: "0s", Doc: "how long opening takes"},
			{Name: "refuse_in", Type: configs.Int, Default: -1, Doc: "index of the child that refuses"},
			{Name: "die_in", Type: configs.Int, Default: -1, Words: map[string]any{"all": everyChild}, Doc: "index of the child that dies"},
			{Name: "once", Type: configs.String, Default: "", Doc: "file that says that it has died"},
		},
	}
}

func (unruly) Open(b *configs.Block, _ *module.Env) (module.Instance, error) {
	time.Sleep(b.Duration("wait"))
	index := tined.ChildIndex()
	if b.Int("refuse_in") == index {
		return module.Instance{}, errors.New("this child refuses, as it was told")
	}
	if die := b.Int("die_in"); (die == index || die == everyChild) && first(b.String("once")) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return module.Instance{Handler: answer(fmt.Sprintf("%s %d %d\n", b.String("answer"), index, os.Getpid()))}, nil
}

// everyChild stands for all of them.
const everyChild = 1 << 20

// first makes the file and reports whether it was not there; "" never is.
func first(path string) bool {
	if path == "" {
		return true
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// answer is the body.
type answer string

func (a answer) Serve(w *tined.Response, r *tined.Request) { a.ServeNow(w, r) }

func (a answer) ServeNow(w *tined.Response, _ *tined.Request) bool {
	w.SendString(string(a))
	return true
}
