package link

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clientAddresses is how many addresses the client's end has: the ports of one would last for seconds only in a storm.
const clientAddresses = 8

// ServerAddress is the address of the server's end. Every port of it is free.
func ServerAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 209, 0, 1}) }

// ClientAddresses are those of the client's end; the first is the one that the kernel chooses.
func ClientAddresses() []netip.Addr {
	all := make([]netip.Addr, clientAddresses)
	for i := range all {
		all[i] = netip.AddrFrom4([4]byte{10, 209, 1, byte(i + 1)})
	}
	return all
}

// UnavailableError says why there is no link on this machine. A caller that has another way, or a test, goes on without one.
type UnavailableError struct {
	Operation string
	Err       error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("cannot make a link with a delay, because %s: %v", e.Operation, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// Link is a running link. Its methods may be called from any goroutine.
type Link struct {
	ends     [2]*end     // the server's, the client's
	carriers [2]*carrier // from ends[i]
	running  sync.WaitGroup
	close    sync.Once
	last     Count // at the end
}

// Start makes both ends and joins them. delay is one way, half of a round trip. The caller calls Close, after it has ended the processes
// that were started on the link: their threads of birth end with it. An *UnavailableError says that this machine permits none.
func Start(delay time.Duration) (*Link, error) { return join(delay, unix.CLONE_NEWNET) }

// StartHere is Start for a server that is there already: its end is no new namespace, but the network of this process as it is, which gets
// the device and its address until Close.
func StartHere(delay time.Duration) (*Link, error) { return join(delay, 0) }

// join makes the server's end by unshare(2) with the flags, and the rest.
func join(delay time.Duration, server int) (*Link, error) {
	l := new(Link)
	for i, addresses := range [][]netip.Addr{{ServerAddress()}, ClientAddresses()} {
		flags := unix.CLONE_NEWNET
		if i == 0 {
			flags = server
		}
		e, err := startEnd(addresses, flags)
		if err != nil {
			for _, other := range l.ends[:i] {
				other.stop()
			}
			return nil, err
		}
		l.ends[i] = e
	}
	for i := range l.carriers {
		c, err := newCarrier(l.ends[i].tun, l.ends[1-i].tun, delay)
		if err != nil {
			if i > 0 {
				_ = unix.Close(l.carriers[0].wake)
			}
			l.ends[0].stop()
			l.ends[1].stop()
			return nil, fmt.Errorf("eventfd: %w", err)
		}
		l.carriers[i] = c
	}
	for _, c := range l.carriers {
		l.running.Go(c.run)
	}
	return l, nil
}

// Server runs f on the thread of the server's end, and returns when f has. One function runs at a time.
func (l *Link) Server(f func()) { l.ends[0].run(f) }

// Client runs f on the thread of the client's end, and returns when f has. One function runs at a time.
func (l *Link) Client(f func()) { l.ends[1].run(f) }

// JoinServer moves the calling goroutine, with its thread, to the server's end for good: it must end there, and not unlock its thread. It
// is for a goroutine that makes many sockets.
func (l *Link) JoinServer() error { return l.ends[0].join() }

// JoinClient is JoinServer for the client's end.
func (l *Link) JoinClient() error { return l.ends[1].join() }

// Count is what the link has done so far, in packets, both ways together.
type Count struct {
	Carried uint64 `json:"carried"`
	// Dropped packets make a run inconclusive: what then breaks is no fault of the server.
	Dropped uint64 `json:"dropped"`
	// Longest is the longest that a packet was under way beyond the delay: this machine was busy with other things.
	Longest time.Duration `json:"longest_late_ns"`
}

// Count reads the counts. After Close it is the last one.
func (l *Link) Count() Count {
	if !l.ends[0].alive() {
		return l.last
	}
	var n Count
	for i, c := range l.carriers {
		n.Carried += c.carried.Load()
		n.Dropped += c.dropped.Load()
		n.Longest = max(n.Longest, time.Duration(c.longest.Load()))
		l.ends[i].run(func() { n.Dropped += interfaceDrops() })
	}
	return n
}

// Close ends the link. What is under way is lost.
func (l *Link) Close() {
	l.close.Do(func() {
		l.last = l.Count()
		for _, c := range l.carriers {
			c.stop()
		}
		l.running.Wait()
		for i, c := range l.carriers {
			_ = unix.Close(c.wake)
			l.ends[i].stop()
		}
	})
}

// device is the name of the TUN device in its namespace.
const device = "tined0"

// end is one network namespace with the thread that lives in it.
type end struct {
	tun   int
	space int // the namespace, a descriptor
	calls chan func()
	once  sync.Once
	quit  chan struct{}
	gone  chan struct{}
}

func startEnd(addresses []netip.Addr, flags int) (*end, error) {
	e := &end{calls: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(e.gone)
		// It is never unlocked: a thread with another namespace than the rest ends with its goroutine.
		runtime.LockOSThread()
		err := e.make(addresses, flags)
		made <- err
		if err != nil {
			return
		}
		for {
			select {
			case f := <-e.calls:
				f()
			case <-e.quit:
				return
			}
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return e, nil
}

// run runs f on the end's thread. After stop it does nothing.
func (e *end) run(f func()) {
	ran := make(chan struct{})
	select {
	case e.calls <- func() { defer close(ran); f() }:
		<-ran
	case <-e.gone:
	}
}

func (e *end) alive() bool {
	select {
	case <-e.gone:
		return false
	default:
		return true
	}
}

func (e *end) stop() {
	e.once.Do(func() {
		close(e.quit)
		<-e.gone
		_ = unix.Close(e.tun)
		_ = unix.Close(e.space)
	})
}

func (e *end) join() error {
	runtime.LockOSThread()
	if err := unix.Setns(e.space, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns: %w", err)
	}
	return nil
}

// make gives the calling thread's network a device, after unshare(2) with the flags has made it a new one, or not.
func (e *end) make(addresses []netip.Addr, flags int) error {
	if err := unix.Unshare(flags); err != nil {
		return &UnavailableError{"this process may not make a network namespace", err}
	}
	space, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &UnavailableError{"this thread's namespace does not open", err}
	}
	if flags != 0 {
		// Settings of this namespace alone. Without them the link works too, with fewer ports, and with packets of its own.
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}
	// Whose device it will be is decided when the file is opened.
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(space)
		return &UnavailableError{"/dev/net/tun does not open", err}
	}
	if err := configure(tun, addresses); err != nil {
		_ = unix.Close(tun)
		_ = unix.Close(space)
		return err
	}
	e.tun, e.space = tun, space
	return nil
}

// configure names the device, gives it its addresses and brings it and loopback up.
func configure(tun int, addresses []netip.Addr) error {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, request); err != nil {
		return &UnavailableError{"this process may not make a TUN device", err}
	}
	// Any socket stands for its namespace.
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	set := func(name string, what string, operation uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, operation, r)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", what, name, err)
		}
		return nil
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	if err := set("lo", "up", unix.SIOCSIFFLAGS, up); err != nil {
		return err
	}
	queue := func(r *unix.Ifreq) error { r.SetUint32(deviceQueue); return nil }
	if err := set(device, "queue length", unix.SIOCSIFTXQLEN, queue); err != nil {
		return err
	}
	for i, a := range addresses {
		name := device
		if i > 0 {
			name += ":" + strconv.Itoa(i) // a further address
		}
		address := func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) }
		if err := set(name, "address", unix.SIOCSIFADDR, address); err != nil {
			return err
		}
		mask := func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 0, 0}) }
		if err := set(name, "mask", unix.SIOCSIFNETMASK, mask); err != nil {
			return err
		}
	}
	return set(device, "up", unix.SIOCSIFFLAGS, up)
}

// interfaceDrops is how many packets the device of the calling thread's namespace has dropped, in either direction.
func interfaceDrops() uint64 {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, counts, ok := strings.Cut(line, ":")
		fields := strings.Fields(counts)
		if !ok || strings.TrimSpace(name) != device || len(fields) < 12 {
			continue
		}
		received, _ := strconv.ParseUint(fields[3], 10, 64)
		sent, _ := strconv.ParseUint(fields[11], 10, 64)
		return received + sent
	}
	return 0
}
