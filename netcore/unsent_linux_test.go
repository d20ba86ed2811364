package netcore

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnsent(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if n, err := Unsent(pair[0]); n != 0 || err != nil {
		t.Fatalf("Unsent of a fresh socket = %d, %v", n, err)
	}
	if _, err := unix.Write(pair[0], make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if n, err := Unsent(pair[0]); n < 1000 || err != nil { // a unix socket counts its own bookkeeping too
		t.Fatalf("Unsent = %d, %v; want at least the 1000 bytes that nobody has read", n, err)
	}
	if _, err := unix.Read(pair[1], make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if n, err := Unsent(pair[0]); n != 0 || err != nil {
		t.Fatalf("Unsent once all is read = %d, %v", n, err)
	}
	if _, err := Unsent(-1); err != unix.EBADF {
		t.Fatalf("Unsent(-1): %v", err)
	}
}
