package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// hangBound is how long it may take until a child that stands still is gone: 5 s to find it, and a while to print its dump.
	hangBound = 7 * time.Second
	// snapshotAfter is when the connections are looked at that a child that stands still has accepted.
	snapshotAfter = 500 * time.Millisecond
)

// hang makes the loop of a child stand still, in every way that we know.
func (t *trial) hang() error {
	_, p, err := t.muster((*trial).serveUnruly, 100*time.Millisecond)
	defer p.stop()
	if err != nil {
		return err
	}
	victims := make(map[string]bool)
	var kills []Kill
	for _, how := range strings.Split(t.ways, ",") {
		if _, err := t.server.serving(t.children); err != nil {
			t.say("all children serve before "+how, err)
			break
		}
		t.phase(how)
		pid, k, found, err := t.hangOne(how)
		if err != nil {
			return fmt.Errorf("%s: %w", how, err)
		}
		victims[strconv.Itoa(pid)] = true
		kills = append(kills, k)
		t.bar(how+": gone after, s", fmt.Sprintf("%.1f", found.Seconds()), hangBound.String(), found <= hangBound)
		begin := time.Now()
		_, err = t.server.serving(t.children)
		if err == nil {
			t.note(how+": all serve again after, s", fmt.Sprintf("%.1f", time.Since(begin).Seconds()))
		} else {
			t.say(how+": all serve again", err)
		}
		if how != "SIGSTOP" {
			t.say(how+": dump of the goroutines in the log", t.dumped(pid))
		}
	}
	excused := func(f Failure) bool { return victims[f.Child] }
	return t.close(p, kills, excused)
}

// hangOne hangs one child and waits until it is gone.
func (t *trial) hangOne(how string) (pid int, k Kill, found time.Duration, err error) {
	c, err := dial(t.ground)
	if err != nil {
		return 0, k, 0, err
	}
	defer c.drop()
	body, err := c.get("/plain")
	if err != nil {
		return 0, k, 0, err
	}
	if _, err := fmt.Sscanf(body, "%d %d %d", new(int), new(int), &pid); err != nil {
		return 0, k, 0, fmt.Errorf("answer %q: %w", body, err)
	}
	if how == "SIGSTOP" {
		err = syscall.Kill(pid, syscall.SIGSTOP)
	} else {
		_, err = io.WriteString(c, "GET /hang?how="+how+" HTTP/1.1\r\nHost: storm\r\n\r\n")
	}
	if err != nil {
		return 0, k, 0, err
	}
	begin := time.Now()
	time.Sleep(snapshotAfter)
	// The loop that stands still accepts nothing more, and gives nothing up, until it is gone.
	if k, err = t.server.hold(pid); err != nil {
		return 0, k, 0, fmt.Errorf("the child is gone at once: %w", err)
	}
	for !gone(pid) {
		if found = time.Since(begin); found > 3*hangBound {
			return pid, k, found, errors.New("the child is not replaced: " + t.state())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return pid, k, time.Since(begin), nil
}

// state is the server's status, for messages.
func (t *trial) state() string {
	st, err := t.server.status()
	if err != nil {
		return err.Error()
	}
	return st.String()
}

// gone reports whether a process has ended.
func gone(pid int) bool {
	m, err := rig.Look(pid)
	return err != nil || m.State == 'Z'
}

// dumped looks for the dump of a process's goroutines in the log.
func (t *trial) dumped(pid int) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		text := t.server.logged()
		if strings.Contains(text, "SIGABRT") && strings.Contains(text, "goroutine ") && strings.Contains(text, strconv.Itoa(pid)) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("there is none")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
