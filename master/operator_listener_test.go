package master

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// controlListener is a control socket of its own.
func controlListener(t *testing.T) (*operatorListener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	fd, err := bound(unix.SOCK_STREAM, path)
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := newOperatorListener(fd, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

// theOther is what another process makes of the same socket.
func theOther(t *testing.T, l *operatorListener) *operatorListener {
	t.Helper()
	fd, err := l.duplicate()
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Fatalf("the socket blocks: %x, %v", flags, err)
	}
	if flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Fatalf("children would inherit the socket: %x, %v", flags, err)
	}
	other, err := newOperatorListener(fd, l.addr.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return other
}

// accepting accepts until the listener is closed, and tells each.
func accepting(l net.Listener) (each chan net.Conn, end chan error) {
	each, end = make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				end <- err
				return
			}
			each <- c
		}
	}()
	return each, end
}

func dialled(t *testing.T, path string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

// What connects during a pause is accepted by the other process that holds the socket, and by this one again after it.
func TestPausedControlSocket(t *testing.T) {
	l, path := controlListener(t)
	each, end := accepting(l)
	for range 3 {
		dialled(t, path)
		(<-each).Close()
		l.pause(true)
		l.pause(true) // twice is once
		other := theOther(t, l)
		others, ended := accepting(other)
		for range 3 { // if both accepted, one of these would go astray
			dialled(t, path)
			(<-others).Close()
		}
		other.pause(true)
		other.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("the end of a paused one: %v", err)
		}
		l.pause(false)
		l.pause(false)
	}
	l.Close()
	if err := <-end; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	l.pause(true) // after the end it does nothing
	l.pause(false)
}
