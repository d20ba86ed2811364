package netcore

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

func TestHolderOfOurOwn(t *testing.T) {
	_, at := loopback(t, ListenOptions{ReusePort: true})
	want := fmt.Sprintf(" (pid %d)", os.Getpid())
	for _, e := range []Endpoint{at, on(tcp("0.0.0.0:0"), at.Addr.Port()), on(dual("[::]:0"), at.Addr.Port())} {
		if desc, ok := Holder(e); !ok || !strings.HasSuffix(desc, want) {
			t.Errorf("%v: %q, %v; want …%q", e, desc, ok, want)
		}
	}
	if desc, ok := Holder(on(tcp("127.9.9.9:0"), at.Addr.Port())); ok {
		t.Errorf("another address: %q", desc)
	}
	path := socketPath(t)
	if desc, ok := Holder(path); ok {
		t.Errorf("nobody: %q", desc)
	}
	listenAt(t, path, ListenOptions{})
	if desc, ok := Holder(path); !ok || !strings.HasSuffix(desc, want) {
		t.Errorf("unix: %q, %v", desc, ok)
	}
	if desc, ok := Holder(Endpoint{}); ok {
		t.Errorf("nothing: %q", desc)
	}
}

// fakeProc is a proc file system with three processes: 812 and 90 share inode 1001, 7 has 1002.
func fakeProc(t *testing.T) proc {
	t.Helper()
	if !littleEndian() {
		t.Skip("the lines below are of a little-endian machine")
	}
	root := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("net/tcp", `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 ffff 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1003 1 ffff 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1004 1 ffff 100 0 0 10 0
`)
	put("net/tcp6", `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1002 1 ffff 100 0 0 10 0
   1: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1002 1 ffff 100 0 0 10 0
`)
	put("net/unix", `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 1001 /run/a file.sock
0000000000000000: 00000003 00000000 00000000 0001 03 1002 /run/b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 1009
`)
	for pid, p := range map[string]struct{ name, inode string }{
		"812": {"worker\n", "1001"}, "90": {"ngi\x1b[31mnx\n", "1001"}, "7": {"tined\n", "1002"}, "8": {"idle\n", ""},
	} {
		put(pid+"/comm", p.name)
		if err := os.Mkdir(filepath.Join(root, pid, "fd"), 0o700); err != nil {
			t.Fatal(err)
		}
		links := []string{"/dev/null"}
		if p.inode != "" {
			links = append(links, "socket:["+p.inode+"]")
		}
		for i, target := range links {
			if err := os.Symlink(target, filepath.Join(root, pid, "fd", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return proc(root)
}

func littleEndian() bool {
	n := uint16(1)
	return *(*byte)(unsafe.Pointer(&n)) == 1
}

func TestHolderByProc(t *testing.T) {
	root := fakeProc(t)
	for _, c := range []struct {
		at   Endpoint
		want string
	}{
		{tcp("127.0.0.1:8080"), "ngi?[31mnx (pid 90)"},
		{tcp("0.0.0.0:8080"), "ngi?[31mnx (pid 90)"},
		{dual("[::]:8080"), "ngi?[31mnx (pid 90)"},
		{tcp("[::]:8080"), ""},
		{tcp("127.0.0.2:8080"), ""},
		{tcp("127.0.0.1:8081"), ""},
		{tcp("0.0.0.0:80"), "tined (pid 7)"}, // 1004 is in nobody's fd folder; the IPv6 wildcard is next
		{tcp("[::1]:443"), "tined (pid 7)"},
		{tcp("[::]:443"), "tined (pid 7)"},
		{tcp("[::2]:443"), ""},
		{tcp("127.0.0.1:443"), ""},
		{Endpoint{Network: "unix", Path: "/run/a file.sock"}, "ngi?[31mnx (pid 90)"},
		{Endpoint{Network: "unix", Path: "/run/b.sock"}, ""},
		{Endpoint{Network: "unix"}, ""},
	} {
		desc, ok := root.holder(c.at)
		if desc != c.want || ok != (c.want != "") {
			t.Errorf("%v: %q, %v; want %q", c.at, desc, ok, c.want)
		}
	}
	if desc, ok := proc(t.TempDir()).holder(tcp("127.0.0.1:80")); ok {
		t.Errorf("an empty /proc: %q", desc)
	}
}

func TestParseHexAddress(t *testing.T) {
	if !littleEndian() {
		t.Skip("the cases below are of a little-endian machine")
	}
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0000":                         "0.0.0.0:0",
		"B80D0120000000000000000001000000:01BB": "[2001:db8::1]:443",
		"0000000000000000FFFF00000100007F:0050": "[::ffff:127.0.0.1]:80",
	} {
		if got, ok := parseHexAddress(text); !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %v, %v; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", ":", "0100007F", "0100007F:", "0100007F:1F9", "0100007F:+F90", "0100007:1F90", "+100007F:1F90", "0100007F00:1F90", "0100007G:1F90"} {
		if got, ok := parseHexAddress(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzParseProc: no line of /proc makes the parsers panic, and what they accept is whole.
func FuzzParseProc(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 ffff 100 0 0 10 0")
	f.Add("   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1002")
	f.Add("0000000000000000: 00000002 00000000 00010000 0001 01 1001 /run/a file.sock")
	f.Add("0000000000000000: 00000003 00000000 00000000 0001 03 1009")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseTCPLine(line); ok {
			if !s.local.IsValid() {
				t.Errorf("%q: %+v", line, s)
			}
			if local := s.local.Addr().String(); !strings.Contains(local, ".") && !strings.Contains(local, ":") {
				t.Errorf("%q: %v", line, s.local)
			}
		}
		if s, ok := parseUnixLine(line); ok && !strings.HasSuffix(line, s.path) {
			t.Errorf("%q: %+v", line, s)
		}
	})
}
