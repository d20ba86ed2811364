package control

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openDoor makes a child's own socket.
func openDoor(t *testing.T) (door *Door, file *os.File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "0.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	master, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	file = os.NewFile(uintptr(master), "master's")
	if door, err = NewDoor(os.NewFile(uintptr(fd), "child's")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close(); file.Close() })
	return door, file, path
}

// Whoever connects can talk both ways, and the one that has dialled learns from the kernel who answers.
func TestDoor(t *testing.T) {
	door, file, path := openDoor(t)
	master, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	file.Fd() // as starting another process does: the socket blocks for all that have it
	child, err := door.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if err := master.Send(&Adopt{Secret: []byte("x")}, openFiles(t, 2)...); err != nil {
		t.Fatal(err)
	}
	m, files, err := child.Receive()
	if err != nil || m.Kind() != KindAdopt || len(files) != 2 || child.Sender() != 0 {
		t.Fatalf("%v, %d files, from %d, %v", m, len(files), child.Sender(), err)
	}
	closeAll(files)
	for _, n := range []int{0, MaxFiles} { // there is room for the sender beside the most files
		if err := child.Send(&Adopted{}, openFiles(t, n)...); err != nil {
			t.Fatal(err)
		}
		_, files, err := master.Receive()
		if err != nil || len(files) != n || master.Sender() != os.Getpid() {
			t.Fatalf("%d files, from %d, %v", len(files), master.Sender(), err)
		}
		closeAll(files)
	}
	child.Close()
	if _, _, err := master.Receive(); !errors.Is(err, io.EOF) || master.Sender() != 0 {
		t.Errorf("at the end: from %d, %v", master.Sender(), err)
	}
}

// Close ends an Accept that waits, also when the socket blocks for others.
func TestDoorCloses(t *testing.T) {
	door, file, path := openDoor(t)
	file.Fd()
	done := make(chan error, 1)
	go func() {
		_, err := door.Accept()
		done <- err
	}()
	passed := 0
	if err := door.Pass(func(fd int) { passed = fd }); err != nil || passed <= 0 {
		t.Errorf("%d, %v", passed, err)
	}
	if err := door.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := door.Accept(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	file.Close()
	if _, err := Dial(path); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a socket that nobody has: %v", err)
	}
	if _, err := Dial(path + ".none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
}

// A queue that nobody empties is an error, and not a wait.
func TestDialOfAFullQueue(t *testing.T) {
	_, _, path := openDoor(t)
	for range 10 {
		c, err := Dial(path)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	t.Error("the queue takes everybody")
}

func TestReceiveBy(t *testing.T) {
	a, b := pair(t)
	if err := a.ReceiveBy(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := a.ReceiveBy(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(&Pong{}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := a.Receive(); err != nil || m.Kind() != KindPong {
		t.Errorf("%v, %v", m, err)
	}
	a.Close()
	if err := a.ReceiveBy(time.Now()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
