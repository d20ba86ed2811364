package link

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// envAdmitted marks a process that Admit has started.
const envAdmitted = "TINED_LINK_ADMITTED"

// Admit is for a program's beginning. Who may not make network namespaces may still be root of a user namespace of its own, if the
// machine allows that: Admit then runs the program anew in one, with the same arguments, and exits with its status. It returns at once
// when there is nothing to do, and when it cannot be done: [Start] then says why.
func Admit() {
	if os.Getenv(envAdmitted) != "" || !errors.Is(tryNamespace(), syscall.EPERM) {
		return
	}
	executable, err := os.Executable()
	if err != nil {
		return
	}
	cmd := exec.Command(executable, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envAdmitted+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGTERM,
	}
	runtime.LockOSThread() // the death signal follows this thread
	defer runtime.UnlockOSThread()
	if cmd.Start() != nil {
		return
	}
	// A terminal sends an interrupt to both; the other signals are passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			if s != syscall.SIGINT {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	_ = cmd.Wait() // its status says it
	code := cmd.ProcessState.ExitCode()
	if code < 0 {
		code = 1 // a signal has ended it
	}
	os.Exit(code)
}

// tryNamespace makes a network namespace on a thread that ends at once.
func tryNamespace() error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	return <-result
}
