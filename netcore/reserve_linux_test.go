package netcore

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReserveAnswersWhenDescriptorsAreOut: with every descriptor in use, the reserve takes one connection after another.
func TestReserveAnswersWhenDescriptorsAreOut(t *testing.T) {
	var reserve Reserve
	if reserve.Release() {
		t.Error("the zero value holds something")
	}
	if err := reserve.Refill(); err != nil {
		t.Fatal(err)
	}
	defer reserve.Release()
	listener, at := loopback(t, ListenOptions{})
	var clients []net.Conn
	for range 3 {
		client, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
		waitFor(t, listener, unix.POLLIN)
	}
	defer func() {
		for _, client := range clients {
			_ = client.Close()
		}
	}()

	exhaust(t)
	for range clients {
		if _, _, err := Accept(listener); err != unix.EMFILE {
			t.Fatalf("accept: %v, want EMFILE", err)
		}
		if !reserve.Release() || reserve.Release() {
			t.Error("Release is not true exactly once")
		}
		conn, _, err := Accept(listener)
		if err != nil {
			t.Fatal(err)
		}
		_ = Close(conn)
		for range 2 {
			if err := reserve.Refill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	reserve.Release()
	fd, err := unix.FcntlInt(uintptr(listener), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantErrno(t, reserve.Refill(), unix.EMFILE)
	_ = Close(fd)
	if err := reserve.Refill(); err != nil {
		t.Error(err)
	}
}

// exhaust lowers the limit of open files to what is in use, for the rest of the test.
func exhaust(t *testing.T) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/null", unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = Close(fd) // the lowest free number
	low := before
	low.Cur = uint64(fd)
	// prlimit, not Setrlimit: the syscall package need not know.
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &before, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRaiseFileLimit(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	low := before
	low.Cur = min(before.Cur, 512)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	soft, err := RaiseFileLimit()
	if err != nil || soft != before.Max {
		t.Errorf("%d, %v; want %d", soft, err, before.Max)
	}
	var after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &after); err != nil || after.Cur != soft || after.Max != before.Max {
		t.Errorf("%+v, %v", after, err)
	}
}
