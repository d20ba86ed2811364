package link

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Admit()
	os.Exit(m.Run())
}

// delay is one way.
const delay = 10 * time.Millisecond

// start makes a link, or skips the test where there can be none.
func start(t *testing.T) *Link {
	t.Helper()
	l, err := Start(delay)
	if why, ok := errors.AsType[*UnavailableError](err); ok {
		t.Skip(why)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if n := l.Count(); n.Dropped > 0 {
			t.Errorf("%d packets dropped", n.Dropped)
		}
	})
	return l
}

// listen opens a listener on the server's end.
func (l *Link) listen(t *testing.T) net.Listener {
	t.Helper()
	var listener net.Listener
	var err error
	l.Server(func() { listener, err = net.Listen("tcp4", netip.AddrPortFrom(ServerAddress(), 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// dial connects from the client's end.
func (l *Link) dial(address string) (conn net.Conn, err error) {
	l.Client(func() { conn, err = net.DialTimeout("tcp4", address, 30*time.Second) })
	return conn, err
}

// pair is a connection: the client's side, the server's.
func (l *Link) pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	listener := l.listen(t)
	c, err := l.dial(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	for _, conn := range []net.Conn{c, s} {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestRoundTripTakesTheDelayTwice(t *testing.T) {
	l := start(t)
	listener := l.listen(t)
	begin := time.Now()
	c, err := l.dial(listener.Addr().String())
	if took := time.Since(begin); err != nil || took < 2*delay {
		t.Fatalf("connected after %v, %v", took, err)
	}
	defer c.Close()
	if from := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); from != ClientAddresses()[0] {
		t.Errorf("from %v", from)
	}
	s, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begin = time.Now()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil || time.Since(begin) < delay {
		t.Errorf("a byte came after %v, %v", time.Since(begin), err)
	}
}

// Datagrams, which nobody puts in order again.
func TestOrder(t *testing.T) {
	l := start(t)
	var server, client *net.UDPConn
	var err error
	l.Server(func() { server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ServerAddress().AsSlice()}) })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l.Client(func() { client, err = net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr)) })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const count = 100 // what a socket's smallest buffer takes
	for i := range uint32(count) {
		if _, err := client.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b [16]byte
	for want := range uint32(count) {
		n, err := server.Read(b[:])
		if err != nil || n != 4 || binary.BigEndian.Uint32(b[:]) != want {
			t.Fatalf("datagram %d: %x, %v", want, b[:n], err)
		}
	}
}

func TestTransferIsWhole(t *testing.T) {
	l := start(t)
	client, server := l.pair(t)
	content := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	go func() {
		_, _ = server.Write(content) // the reader sees what is missing
		_ = server.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
		t.Errorf("%d bytes of %d, %v; equal: %t", len(got), len(content), err, bytes.Equal(got, content))
	}
}

func TestEndsOfConnections(t *testing.T) {
	l := start(t)
	t.Run("FIN", func(t *testing.T) {
		client, server := l.pair(t)
		server.Close()
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("RST", func(t *testing.T) {
		client, server := l.pair(t)
		if err := server.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		server.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		listener := l.listen(t)
		listener.Close()
		if c, err := l.dial(listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, %v", c, err)
		}
	})
}

// The machine's own network is another one, and a process started on the link has the link's.
func TestEndsAreApart(t *testing.T) {
	l := start(t)
	listener := l.listen(t)
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	read := func() string {
		out, err := exec.Command("readlink", "/proc/self/ns/net").Output()
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(out))
	}
	var server, client string
	l.Server(func() { server = read() })
	l.Client(func() { client = read() })
	if server == client || server == here || client == here {
		t.Errorf("here %s, server %s, client %s", here, server, client)
	}
	for _, from := range ClientAddresses() {
		var c net.Conn
		l.Client(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: 30 * time.Second}
			c, err = d.Dial("tcp4", listener.Addr().String())
		})
		if err != nil {
			t.Errorf("from %v: %v", from, err)
			continue
		}
		c.Close()
	}
}

// A goroutine that has joined an end makes its sockets there.
func TestJoin(t *testing.T) {
	l := start(t)
	result := make(chan error, 2)
	listening := make(chan net.Listener, 1)
	go func() {
		if err := l.JoinServer(); err != nil {
			result <- err
			return
		}
		listener, err := net.Listen("tcp4", netip.AddrPortFrom(ServerAddress(), 0).String())
		listening <- listener
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	listener := <-listening
	defer listener.Close()
	go func() {
		if err := l.JoinClient(); err != nil {
			result <- err
			return
		}
		c, err := net.DialTimeout("tcp4", listener.Addr().String(), 30*time.Second)
		if err == nil {
			c.Close()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestAfterClose(t *testing.T) {
	l := start(t)
	client, _ := l.pair(t)
	client.Close()
	l.Close()
	ran := false
	l.Server(func() { ran = true })
	if n := l.Count(); ran || n.Carried == 0 {
		t.Errorf("ran %t, %+v", ran, n)
	}
}

// envHere marks the process that TestStartHere starts.
const envHere = "TINED_LINK_TEST_HERE"

// The server's end can be the network of the process, which is as before at the end. The process is another one, in a network of its own.
func TestStartHere(t *testing.T) {
	if os.Getenv(envHere) == "" {
		start(t).Close() // or there can be none
		cmd := exec.Command(os.Args[0], "-test.run=^TestStartHere$")
		cmd.Env = append(os.Environ(), envHere+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	l, err := StartHere(delay)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(ServerAddress(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	begin := time.Now()
	conn, err := l.dial(listener.Addr().String())
	if took := time.Since(begin); err != nil || took < 2*delay {
		t.Fatalf("connected after %v, %v", took, err)
	}
	conn.Close()
	l.Close()
	if left, err := net.InterfaceByName(device); err == nil {
		t.Errorf("left behind: %+v", left)
	}
}

// Who may not make namespaces is told so, and no more.
func TestUnavailable(t *testing.T) {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and it ends with the goroutine, for its rights are gone
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			result <- err
			return
		}
		result <- new(end).make(nil, unix.CLONE_NEWNET)
	}()
	err := <-result
	why, ok := errors.AsType[*UnavailableError](err)
	if !ok || !errors.Is(err, syscall.EPERM) || !strings.Contains(why.Error(), "because") {
		t.Error(err)
	}
}

// The ring gives back what was put in, in order, and refuses what has no room: over random sizes, around its end again and again.
func TestRing(t *testing.T) {
	r := newRing(8*mtu, 20)
	random := rand.New(rand.NewPCG(1, 2))
	put, taken, refused := 0, 0, 0
	sizes := make(map[int]int)
	for range 20_000 {
		if random.IntN(2) == 0 {
			room := r.room()
			if room == nil {
				if refused++; r.count < 5 {
					t.Fatalf("%d packets fill it", r.count)
				}
				continue
			}
			n := 4 + random.IntN(mtu-3)
			if random.IntN(2) == 0 {
				n = 4 + random.IntN(60)
			}
			for i := range room[:n] {
				room[i] = byte(put)
			}
			sizes[put] = n
			r.push(n, int64(put))
			put++
			continue
		}
		due, some := r.due()
		if some != (put > taken) {
			t.Fatalf("%d put, %d taken, some: %t", put, taken, some)
		}
		if !some {
			continue
		}
		p := r.front()
		if due != int64(taken) || len(p) != sizes[taken] || len(bytes.Trim(p, string([]byte{byte(taken)}))) != 0 {
			t.Fatalf("packet %d: due %d, %d bytes of %d", taken, due, len(p), sizes[taken])
		}
		r.pop()
		taken++
	}
	if refused == 0 || put < 1000 {
		t.Errorf("%d put, %d refused: that tries nothing", put, refused)
	}
}
