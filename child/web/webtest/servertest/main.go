package servertest

import (
	"io"
	"os"
	"syscall"
	"testing"
)

const (
	// envMaster marks the process that is to be the master, and holds the number of lifeline.
	envMaster = "TINED_TEST_MASTER"
	// fdLifeline is the descriptor of a pipe that the test holds open as long as it lives: the first after the standard ones.
	fdLifeline = 3
	// envRole is set in the children of a master. It is package control's, which this package does not need otherwise.
	envRole = "TINED_ROLE"
)

// Main is the whole of a TestMain: it runs the tests, or, in a process that Start has begun, the program. program registers what it
// serves and calls Main of package tined, as a main function does. Main does not return.
func Main(m *testing.M, program func()) {
	switch {
	case os.Getenv(envMaster) != "":
		os.Unsetenv(envMaster)
		endWithTest()
	case os.Getenv(envRole) != "":
	default:
		os.Exit(m.Run())
	}
	program()
	os.Exit(0)
}

// endWithTest stops this process, which is to be a master, when the process of the test is gone.
func endWithTest() {
	syscall.CloseOnExec(fdLifeline)
	lifeline := os.NewFile(fdLifeline, "lifeline")
	go func() {
		// Nobody writes: it ends when the other end is closed.
		_, _ = io.Copy(io.Discard, lifeline)
		_ = os.RemoveAll(os.Getenv(envRun)) // which the test cannot do any more
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
	}()
}
