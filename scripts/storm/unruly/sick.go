package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined"
)

// A next version of the program that is no good is this one under another name: an upgrade starts it with the arguments and the environment
// of the version before, and only the path is another. What follows "sick-" in the file's name is
//
//	exit      it exits at once with 3
//	quit      it exits at once with 0
//	hang      it hangs before it does anything, whatever it is to do
//	stuck     it hangs when it is to serve, and not before
//	stall     it stands still as soon as it has a child: it has claimed everything by then
//	mute      its children stand still when they start, and answer nothing
//	errors    the function "sick" answers with 500
//	slow      the function "sick" takes its time
//
// A package gives its executable another name: the word then stands in the file told, and without that it is well.
var sickness = func() string {
	if told != "" {
		word, _ := os.ReadFile(told)
		return strings.TrimSpace(string(word))
	}
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	name, _ := strings.CutPrefix(filepath.Base(path), "sick-")
	if name == filepath.Base(path) {
		return ""
	}
	return name
}()

// told is the path of the file that says the sickness; the linker may set it.
var told string

// slowness is how long a slow answer takes: longer than the default of upgrade.latency_floor by far.
const slowness = 200 * time.Millisecond

// fallIll is for what a master suffers from. It returns, unless the program is to end or to hang here.
func fallIll() {
	if tined.ChildIndex() >= 0 {
		return
	}
	switch sickness {
	case "exit":
		fmt.Fprintln(os.Stderr, "sick: exiting, as it was told")
		os.Exit(3)
	case "quit":
		os.Exit(0)
	case "hang":
		hangForEver()
	case "stuck":
		if slices.Contains(os.Args, "run") {
			hangForEver()
		}
	case "stall":
		go func() {
			for !hasChild() {
				time.Sleep(time.Millisecond)
			}
			standStill()
		}()
	}
}

// hangForEver is no wait that the runtime would call a deadlock.
func hangForEver() {
	for {
		time.Sleep(time.Hour)
	}
}

// hasChild reports whether this process has started another.
func hasChild() bool {
	parent := strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		// proc_pid_stat(5): the name in parentheses may hold anything; the state and the parent follow it.
		fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
		if len(fields) > 1 && fields[1] == parent {
			return true
		}
	}
	return false
}

// mute is called in a child that starts.
func mute() {
	if sickness == "mute" {
		standStill()
	}
}

// standStill stops the whole process, until SIGCONT.
func standStill() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }

// sick answers well, or as the executable's name says.
func sick(w *tined.Response, _ *tined.Request) {
	switch sickness {
	case "errors":
		tined.Error(w, 500)
		return
	case "slow":
		time.Sleep(slowness)
	}
	w.SendString("well\n")
}
