package master

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// An address that cannot be bound is refused with the cure, not with the name of a system call.
func TestUnbindableAddresses(t *testing.T) {
	for _, c := range []struct {
		address string
		err     error
		want    string
	}{
		{"192.0.2.1:80", unix.EADDRNOTAVAIL, "this machine does not have the address 192.0.2.1:80; write one"},
		{"192.0.2.1:80", unix.EACCES, "a port below 1024 needs root"},
		{"unix:/none/x.sock", unix.EACCES, "the user of the master must be allowed to write to the directory"},
		{"unix:/none/x.sock", unix.ENOENT, "the directory of the socket does not exist; create it"},
		{"192.0.2.1:80", unix.ENOBUFS, "no buffer space"},
	} {
		a, err := configs.ParseAddress(c.address)
		if err != nil {
			t.Fatal(err)
		}
		contains(t, unbindable(endpoint(a), fmt.Errorf("bind: %w", c.err)).Error(), c.want)
	}
	if err := unbindable(netcore.Endpoint{}, nil); err != nil {
		t.Error(err)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1<<20 - 1: "1048575 bytes", 1 << 20: "1.0 MiB", 97280000: "92.8 MiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestReopenedText(t *testing.T) {
	for _, c := range []struct {
		access, failed int
		want           string
	}{
		{0, 0, "the log"},
		{1, 0, "the log and 1 access log file"},
		{3, 2, "the log and 3 access log files; 2 files could not be opened: what was open is written on"},
	} {
		if got := reopenedText(c.access, c.failed); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
