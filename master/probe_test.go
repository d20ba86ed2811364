package master

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
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

// Every address that cannot be had is named, as a start would; nothing is left behind, not even a file.
func TestProbePorts(t *testing.T) {
	dir := t.TempDir()
	address := func(text string) configs.Address {
		a, err := configs.ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	nobody := func(string) string { return "" }
	free := &configs.Config{Listeners: []configs.Listener{
		{Name: "any", Address: address("127.0.0.1:0")}, {Name: "file", Address: address("unix:" + dir + "/free.sock")},
	}}
	if err := ProbePorts(free, nobody); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	fd := listening(t, "127.0.0.1:0", true)
	taken := localOf(t, fd).Addr.String()
	bad := append(free.Listeners, configs.Listener{Name: "one", Address: address(taken)}, configs.Listener{Name: "two", Address: address("192.0.2.1:80")},
		configs.Listener{Name: "three", Address: address("unix:" + dir + "/none/x.sock")})
	err := ProbePorts(&configs.Config{Listeners: bad}, nobody)
	if err == nil {
		t.Fatal("all can be had")
	}
	all := strings.Split(err.Error(), "\n")
	if len(all) != 3 {
		t.Fatalf("%q", all)
	}
	contains(t, all[0], `listen "one": `+taken+" is in use by ", fmt.Sprintf("(pid %d)", os.Getpid()))
	contains(t, all[1], `listen "two": this machine does not have the address 192.0.2.1:80`)
	contains(t, all[2], `listen "three": unix:`+dir+"/none/x.sock: the directory of the socket does not exist; create it")

	// Who knows better than the kernel is believed, about what is not free.
	err = ProbePorts(&configs.Config{Listeners: bad[:3]}, func(address string) string { return "the owner of " + address })
	if want := fmt.Sprintf(`listen "one": %s is in use by the owner of %[1]s`, taken); err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}

// All addresses are those of IPv4 where the kernel has nothing else; one that was meant to be IPv6 alone stays what it is, and is refused.
func TestEndpointWithoutIPv6(t *testing.T) {
	for address, want := range map[string]string{":80": "0.0.0.0:80", "[::]:80": "0.0.0.0:80", "[::1]:80": "[::1]:80", "10.0.0.1:80": "10.0.0.1:80", "unix:/run/x": "unix:/run/x"} {
		a, err := configs.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		if e := endpointOn(a, false); e.String() != want || e.DualStack {
			t.Errorf("%s: %+v", address, e)
		}
		if e := endpointOn(a, true); e.DualStack != a.DualStack || e.Addr != a.Addr || e.Path != a.Path {
			t.Errorf("%s with IPv6: %+v", address, e)
		}
	}
	if alone := endpointOn(configs.Address{Network: "tcp", Addr: netip.MustParseAddrPort("[::]:80")}, false); alone.String() != "[::]:80" {
		t.Errorf("IPv6 alone: %v", alone)
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
