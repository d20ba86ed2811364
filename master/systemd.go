package master

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// What a supervisor that speaks systemd's protocol is told (sd_notify(3)): one datagram for each piece of news, lines of NAME=value, sent
// to the socket that NOTIFY_SOCKET names. This is our own code, since go-systemd's daemon package passes no descriptors, which the store
// of sockets and BARRIER=1 need.

const (
	// maxNotified is how many bytes of a text reach STATUS: systemd refuses datagrams above 4096.
	maxNotified = 1 << 10
	// maxQueued bounds the news that wait for a supervisor that does not read.
	maxQueued = 64
)

// supervisorEnv are the variables by which systemd speaks to the process that it starts, and to no other (sd_notify(3), sd_listen_fds(3),
// systemd.exec(5)).
var supervisorEnv = []string{
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE",
}

// takeSupervisorEnv takes those variables out of the process's environment: neither children nor what a program's hook executes may speak
// in the master's name, or take its sockets for their own. It must come before anything else looks at the environment.
func takeSupervisorEnv() map[string]string {
	taken := map[string]string{}
	for _, name := range supervisorEnv {
		if v, ok := os.LookupEnv(name); ok {
			taken[name] = v
			_ = os.Unsetenv(name) // it fails for impossible names only
		}
	}
	return taken
}

// watchdogInterval is how often the supervisor wants to hear of the loop, at half the time after which it gives the process up; 0: never.
// WATCHDOG_PID is not looked at: it goes on to name the first master when an upgrade has put another one in its place (FACTS 22).
func watchdogInterval(env func(string) string) time.Duration {
	const most = 1 << 53 // microseconds; more would overflow, and is for ever
	n, err := strconv.ParseUint(env("WATCHDOG_USEC"), 10, 64)
	if err != nil || n == 0 || n > most {
		return 0
	}
	return max(time.Duration(n)*time.Microsecond/2, time.Millisecond)
}

// notifier speaks to the supervisor. No method but barrier blocks. A nil notifier has nobody to speak to, and every method of it does
// nothing. Owner: the loop, but for barrier.
type notifier struct {
	fd      int
	address unix.Sockaddr
	queue   []string // news that the supervisor had no room for, the oldest first
	lost    uint64   // news that there was no room for here either
}

// newNotifier is nil without a NOTIFY_SOCKET. An address that is not a unix socket's is an error.
func newNotifier(env func(string) string) (*notifier, error) {
	path := env("NOTIFY_SOCKET")
	switch {
	case path == "":
		return nil, nil
	case path[0] != '/' && path[0] != '@' || len(path) < 2:
		return nil, fmt.Errorf("NOTIFY_SOCKET=%s: only a path and an abstract name, @NAME, are supported", path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &notifier{fd: fd, address: &unix.SockaddrUnix{Name: path}}, nil // '@' makes the name abstract
}

func (n *notifier) close() {
	if n != nil {
		_ = unix.Close(n.fd)
	}
}

// ready says that the service is up, and which process is its main one: after an upgrade another than the one that systemd has started.
func (n *notifier) ready(mainpid int, status string) error {
	return n.say(datagram("MAINPID="+strconv.Itoa(mainpid), statusLine(status), "READY=1"))
}

// reloading begins a reload. now is CLOCK_MONOTONIC in microseconds (see monotonicMicros); systemd wants it in the same datagram.
func (n *notifier) reloading(now uint64) error {
	return n.say(datagram("MONOTONIC_USEC="+strconv.FormatUint(now, 10), "RELOADING=1"))
}

// reloaded ends a reload, whatever came of it.
func (n *notifier) reloaded(status string) error {
	return n.say(datagram(statusLine(status), "READY=1"))
}

// stopping begins the stop, which may take so long.
func (n *notifier) stopping(status string, bound time.Duration) error {
	return n.say(datagram(statusLine(status), "STOPPING=1", extendLine(bound)))
}

// extend says that a stop may take so long from now on, when that is longer than what the supervisor would grant. EAGAIN as in status.
func (n *notifier) extend(bound time.Duration) error { return n.transient(extendLine(bound)) }

func extendLine(bound time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(bound.Microseconds(), 10)
}

// status is what `systemctl status` shows. EAGAIN: there is no room now; it does not wait for any, since a later text replaces it.
func (n *notifier) status(text string) error { return n.transient(statusLine(text)) }

// watchdog says that the loop turns. EAGAIN as in status.
func (n *notifier) watchdog() error { return n.transient("WATCHDOG=1") }

// store gives the supervisor a duplicate of fd to keep and to give to the next process of the service; the same socket is kept once, under
// its first name. FDPOLL=0: a listening socket is not to be dropped for what poll says of it. The name must be valid (validStoreName).
// EAGAIN as in status: try again.
func (n *notifier) store(name string, fd int) error {
	if n == nil {
		return nil
	}
	return n.send(datagram("FDNAME="+name, "FDPOLL=0", "FDSTORE=1"), fd)
}

// forget lets the supervisor close what it keeps under a name. EAGAIN as in status: try again.
func (n *notifier) forget(name string) error {
	return n.transient(datagram("FDNAME="+name, "FDSTOREREMOVE=1"))
}

// barrier returns once the supervisor has taken note of everything that was said before, or with an error at the end of the timeout. It
// blocks: any goroutine but the loop's.
func (n *notifier) barrier(timeout time.Duration) error {
	if n == nil {
		return nil
	}
	end := time.Now().Add(timeout)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	defer func() { _ = unix.Close(pipe[0]) }()
	err := n.send("BARRIER=1", pipe[1]) // alone: systemd wants no other line beside it
	for err == unix.EAGAIN && time.Now().Before(end) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(n.fd)}}, 10) // an unconnected datagram socket does not say when there is room
		err = n.send("BARRIER=1", pipe[1])
	}
	_ = unix.Close(pipe[1]) // its duplicate is in the datagram
	if err != nil {
		return fmt.Errorf("notify BARRIER=1: %w", err)
	}
	for {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("notify BARRIER=1: no answer within %v: %w", timeout, os.ErrDeadlineExceeded)
		}
		got, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe[0])}}, int(left.Milliseconds())+1) // POLLHUP needs no asking
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if got > 0 {
			return nil
		}
	}
}

// say sends news that must arrive, in order: what there is no room for waits for flush.
func (n *notifier) say(text string) error {
	if n == nil {
		return nil
	}
	if len(n.queue) == maxQueued {
		n.lost++
		return unix.EAGAIN
	}
	n.queue = append(n.queue, text)
	return n.flush()
}

// flush sends what waits. It returns nil when nothing does any more, or when what does can be sent later.
func (n *notifier) flush() error {
	for n != nil && len(n.queue) > 0 {
		err := n.send(n.queue[0])
		if err == unix.EAGAIN {
			return nil
		}
		n.queue = n.queue[1:] // what it does not take for another reason, it never will
		if err != nil {
			return err
		}
	}
	return nil
}

// waiting reports whether flush has something to do.
func (n *notifier) waiting() bool { return n != nil && len(n.queue) > 0 }

// transient sends what may be left out; it does not overtake what waits.
func (n *notifier) transient(text string) error {
	switch {
	case n == nil:
		return nil
	case len(n.queue) > 0:
		return unix.EAGAIN
	}
	return n.send(text)
}

// send sends one datagram. The bare errno: EAGAIN also stands for the kernel's other words for no room.
func (n *notifier) send(text string, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(n.fd, []byte(text), rights, n.address, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.ENOBUFS, err == unix.ENOMEM, err == unix.ETOOMANYREFS: // the last: too many descriptors of ours are under way
			return unix.EAGAIN
		default:
			return err
		}
	}
}

// monotonicMicros is CLOCK_MONOTONIC, which Go's time does not show.
func monotonicMicros() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("master: CLOCK_MONOTONIC: %v", err)) // every Linux has it
	}
	return uint64(t.Nano() / 1000)
}

// datagram is NAME=value pairs as the protocol has them.
func datagram(all ...string) string { return strings.Join(all, "\n") }

func statusLine(text string) string { return "STATUS=" + oneLine(text) }

// oneLine makes a text fit for a value of the protocol: valid UTF-8, printable, of one line and bounded.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return '?'
	}, strings.ToValidUTF8(strings.TrimSpace(text), "?"))
	return shorten(text, maxNotified)
}

// shorten cuts a valid text to so many bytes, its mark included.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const cut = "…"
	return strings.ToValidUTF8(text[:most-len(cut)], "") + cut
}

// roomAgain tells no room now from a supervisor that is not there.
func roomAgain(err error) bool { return errors.Is(err, unix.EAGAIN) }
