package master

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore/control"
)

// selfRequest is answered by an internal target of the child, never by a user's route.
const selfRequest = "GET / HTTP/1.1\r\nHost: " + control.SelfHost + "\r\nConnection: close\r\n\r\n"

// maxProof bounds what is read of the answer, in bytes.
const maxProof = 64 << 10

// prove asks the child one real request before any client may. With SO_REUSEPORT there is no
// address by which one child could be reached, so the child is handed one end of a socketpair as
// a connection, and the master asks on the other.
func (m *master) prove(c *child) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		err = os.NewSyscallError("socketpair", err)
		go m.post(c, proof{err})
		return
	}
	c.proc.Send(&control.Inject{Role: control.RoleSelf}, fds[1]) // Send has made its own duplicate
	_ = unix.Close(fds[1])
	bound := m.bounds.answer
	go func() { m.post(c, proof{askSelf(os.NewFile(uintptr(fds[0]), "proof"), bound)}) }()
}

// askSelf sends the request on f, a non-blocking stream socket, expects 200, and closes f.
func askSelf(f *os.File, bound time.Duration) error {
	defer f.Close()
	if err := f.SetDeadline(time.Now().Add(bound)); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	if _, err := io.WriteString(f, selfRequest); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(f, maxProof)), nil)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("proof: the connection was closed without an answer")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("proof: no answer within %v", bound)
	}
	if err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("proof: answered %s", response.Status)
	}
	return nil
}
