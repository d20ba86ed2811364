package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// This file is the init role: a stub between a supervisor (a container's runtime, runit, a shell) and the master. An upgrade replaces
// the master by another process, while the supervisor watches one process id: the stub's.
//
// It opens no file and no network socket. It
//
//  1. starts the master from /proc/self/exe, with a mark in the environment that makes it no second stub;
//  2. adopts every descendant whose parent ends (it is process 1, or a subreaper: prctl(2)), so that a new master becomes its child
//     once the old one, which started it, is gone;
//  3. looks at each ended child before it reaps it (waitid(2) with WNOWAIT): a master is its owner's to wait for, the os.Process in
//     masters; an orphan that nobody owns is reaped at once;
//  4. passes signals on to the current master;
//  5. ends with the status of the last master, 128+n when signal n ended it.
//
// A process becomes the current master by saying so on the channel that the first master inherits and hands on (sayMaster). The kernel
// adds the sender's process id, as seen from here. Until then signals go to the old one: it alone can undo an upgrade. If the new one is
// gone before the old one, the old one is the current master again.

const (
	// roleMaster is the value of TINED_ROLE in a master that a stub has started.
	roleMaster = "master"
	// envInit holds the number of the descriptor on which a master speaks to the stub.
	envInit = "TINED_INIT"
	// fdInit is that descriptor: the first after the standard ones.
	fdInit = 3
	// said is the whole vocabulary of the channel: a master says it, and the stub says it back.
	said = 'm'
	// signalQueue is how many signals may wait; os/signal drops what finds it full.
	signalQueue = 64
)

// forwarded are the signals that mean something to a master (docs/signals.md).
var forwarded = []os.Signal{
	unix.SIGTERM, unix.SIGQUIT, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH,
}

// stub is the init role. One goroutine, run, owns it.
type stub struct {
	masters []*os.Process // in the order in which they said so; the last is the current one
	status  int           // of the last master, as far as it is known
}

// runInit starts the program again as master, with the same arguments, and returns the status to exit with.
func runInit(args []string) (int, error) {
	// Asked for before the start: no end of a child is missed.
	signals := make(chan os.Signal, signalQueue)
	signal.Notify(signals, append([]os.Signal{unix.SIGCHLD}, forwarded...)...)
	defer signal.Stop(signals)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return exitFailed, fmt.Errorf("become the parent of orphans: %w", os.NewSyscallError("prctl", err))
	}
	ours, theirs, err := initChannel()
	if err != nil {
		return exitFailed, err
	}
	defer ours.Close()
	s := &stub{status: exitFailed}
	err = s.start(args, theirs)
	theirs.Close()
	if err != nil {
		return exitFailed, err
	}
	spoken := make(chan int)
	ended := make(chan struct{})
	defer close(ended)
	go listen(ours, spoken, ended)
	return s.run(signals, spoken, ours), nil
}

// start starts the first master. Its process group is its own, so that a terminal's ^C reaches it once, through the stub.
func (s *stub) start(args []string, channel *os.File) error {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, control.EnvRole+"=") || strings.HasPrefix(v, envInit+"=")
	})
	master, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Env:   append(env, control.EnvRole+"="+roleMaster, envInit+"="+strconv.Itoa(fdInit)),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, channel},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("start the master: %w (is /proc mounted?)", err)
	}
	s.masters = append(s.masters, master)
	return nil
}

// run returns when no master is left.
func (s *stub) run(signals <-chan os.Signal, spoken <-chan int, channel *os.File) int {
	for len(s.masters) > 0 {
		select {
		case sig := <-signals:
			s.reap()
			if sig != unix.SIGCHLD && len(s.masters) > 0 {
				// An error says that it has ended since; SIGCHLD comes next.
				_ = s.masters[len(s.masters)-1].Signal(sig)
			}
		case pid := <-spoken:
			s.promote(pid)
			_, _ = channel.Write([]byte{said}) // an error says that it has ended since
			s.reap()
		}
	}
	return s.status
}

// promote makes pid the current master.
func (s *stub) promote(pid int) {
	if i := s.find(pid); i >= 0 {
		m := s.masters[i]
		s.masters = append(slices.Delete(s.masters, i, i+1), m)
		return
	}
	// The handle is a pidfd: it never means a later process with the same id. One that is gone already has an empty handle.
	if m, err := os.FindProcess(pid); err == nil {
		s.masters = append(s.masters, m)
	}
}

func (s *stub) find(pid int) int {
	return slices.IndexFunc(s.masters, func(m *os.Process) bool { return m != nil && m.Pid == pid })
}

// reap takes note of every process that has ended.
func (s *stub) reap() {
	newest := -1
	for {
		pid, err := nextEnded()
		if err != nil || pid == 0 {
			break
		}
		i := s.find(pid)
		if i < 0 {
			// It is a zombie and our child, so this neither blocks nor fails.
			_, _ = unix.Wait4(pid, nil, 0, nil)
			continue
		}
		// Of masters that end together the newest is the last.
		if state, err := s.masters[i].Wait(); err == nil && i >= newest {
			s.status, newest = exitStatus(state), i
		}
		s.masters[i] = nil // the others keep their places for this loop
	}
	s.masters = slices.DeleteFunc(s.masters, func(m *os.Process) bool { return m == nil || lost(m) })
}

// lost reports whether m has ended while the master that started it still is its parent: it will never be ours to wait for.
func lost(m *os.Process) bool {
	var info unix.Siginfo
	if unix.Waitid(unix.P_PID, m.Pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) != unix.ECHILD {
		return false
	}
	ended := false
	err := m.WithHandle(func(pidfd uintptr) {
		poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}} // readable once it has ended (pidfd_open(2))
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n == 1
	})
	if err != nil { // it is gone altogether, or this kernel has no pidfd
		ended = errors.Is(m.Signal(syscall.Signal(0)), os.ErrProcessDone)
	}
	return ended
}

// exitStatus is what a shell would report.
func exitStatus(state *os.ProcessState) int {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return state.ExitCode()
}

// nextEnded finds a child that has ended and leaves it there; 0 when there is none.
func nextEnded() (pid int, err error) {
	// siginfo_t begins with three ints; the union behind them is aligned like a pointer and begins with si_pid (waitid(2)).
	const offset = (3*unsafe.Sizeof(int32(0)) + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	var info unix.Siginfo
	for {
		err = unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, os.NewSyscallError("waitid", err)
	}
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), nil
}

// initChannel makes the pair on which masters speak: whole messages, each with the sender's process id.
func initChannel() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	// Non-blocking, so that Close ends a read. Ours only: the other end's status flags are its own.
	err = unix.SetNonblock(fds[0], true)
	if err == nil {
		err = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("setsockopt", err)
	}
	return os.NewFile(uintptr(fds[0]), "init channel"), os.NewFile(uintptr(fds[1]), "init channel"), nil
}

// listen passes on the process ids of those who speak, until the channel is closed on either side.
func listen(channel *os.File, spoken chan<- int, ended <-chan struct{}) {
	raw, err := channel.SyscallConn()
	if err != nil {
		return
	}
	message, ancillary := make([]byte, 16), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		var n, used int
		readErr := raw.Read(func(fd uintptr) bool {
			err = unix.EINTR
			for err == unix.EINTR {
				n, used, _, _, err = unix.Recvmsg(int(fd), message, ancillary, unix.MSG_CMSG_CLOEXEC)
			}
			return err != unix.EAGAIN
		})
		if readErr != nil || err != nil || n == 0 {
			return
		}
		if pid := senderPid(ancillary[:used]); pid > 0 {
			select {
			case spoken <- pid:
			case <-ended:
				return
			}
		}
	}
}

// senderPid reads the credentials that the kernel has added; 0 when the sender is not visible from here.
func senderPid(ancillary []byte) int {
	messages, err := unix.ParseSocketControlMessage(ancillary)
	if err != nil {
		return 0
	}
	for i := range messages {
		if c, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(c.Pid)
		}
	}
	return 0
}

// inheritedInit takes the channel to the stub out of the environment: nil when this process has none.
func inheritedInit() (*os.File, error) {
	value := os.Getenv(envInit)
	os.Unsetenv(envInit)
	if value == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < fdInit {
		return nil, fmt.Errorf("%s=%q is no descriptor: unset it", envInit, value)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("%s=%d is not the init process's socket: unset it", envInit, fd)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "init channel"), nil
}

// sayMaster tells the stub that the calling process is the master from now on. Once it has returned, signals come here.
func sayMaster(channel *os.File) error {
	if _, err := channel.Write([]byte{said}); err != nil {
		return err
	}
	_, err := channel.Read(make([]byte, 1)) // the answer
	return err
}
