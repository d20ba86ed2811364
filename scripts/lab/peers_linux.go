package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
)

// patience is how long, in ms, the lab waits for what must come at once.
const patience = 30_000

// deadline is when patience ends.
func deadline() time.Time { return time.Now().Add(patience * time.Millisecond) }

// peers is a process that has the other ends of our connections: so our descriptors are few and
// small, and what clients do costs nothing on our thread.
type peers struct {
	helper
	listener int
}

// helper is a process of this program that obeys commands, one a line, each answered by one line.
// It ends with its standard input.
type helper struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// startHelper starts this program as command, with extra descriptors from 3 on.
func startHelper(files []*os.File, env []string, command ...string) (helper, error) {
	program, err := self()
	if err != nil {
		return helper{}, err
	}
	process := exec.Command(program, command...)
	process.Stderr = os.Stderr
	process.ExtraFiles = files
	process.Env = append(os.Environ(), env...)
	in, err := process.StdinPipe()
	if err != nil {
		return helper{}, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return helper{}, err
	}
	if err := process.Start(); err != nil {
		return helper{}, err
	}
	return helper{process: process, in: in, out: bufio.NewReader(out)}, nil
}

// do gives a command and waits for its answer.
func (h *helper) do(format string, args ...any) error {
	command := fmt.Sprintf(format, args...)
	if _, err := io.WriteString(h.in, command+"\n"); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	answer, err := h.out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("%s: no answer: %w", command, err)
	}
	if answer = strings.TrimSpace(answer); answer != "ok" {
		return fmt.Errorf("%s: %s", command, answer)
	}
	return nil
}

// end closes the helper's input and waits for it.
func (h *helper) end() error {
	h.in.Close()
	return h.process.Wait()
}

func startPeers() (*peers, error) {
	fd, err := netcore.Listen(loopback, netcore.ListenOptions{})
	if err != nil {
		return nil, err
	}
	at, err := netcore.Local(fd)
	if err == nil {
		var h helper
		if h, err = startHelper(nil, nil, "peers", at.Addr.String()); err == nil {
			return &peers{helper: h, listener: fd}, nil
		}
	}
	netcore.Close(fd)
	return nil, err
}

// loopback is a free port.
var loopback = netcore.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}

func (p *peers) end() {
	p.helper.end() // what it says after its last answer is of no interest
	netcore.Close(p.listener)
}

// connect makes n connections, in the order in which the peers number them.
func (p *peers) connect(n int) ([]int, error) {
	answered := make(chan error, 1)
	go func() { answered <- p.do("connect %d", n) }()
	conns := make([]int, 0, n)
	for len(conns) < n {
		fd, _, err := netcore.Accept(p.listener)
		if err == unix.EAGAIN {
			if err := readable(p.listener); err != nil {
				select {
				case err = <-answered: // it knows better why nothing came
				default:
				}
				return conns, err
			}
			continue
		}
		if err != nil {
			return conns, fmt.Errorf("accept: %w", err)
		}
		conns = append(conns, fd)
	}
	return conns, <-answered
}

// drop ends all connections: ours first, and the peers' with a reset, so that no port is held.
func (p *peers) drop(conns []int) error {
	err := p.do("reset")
	for _, fd := range conns {
		netcore.Close(fd)
	}
	return err
}

// readable waits until a descriptor is.
func readable(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n == 0:
			return errors.New("nothing came")
		default:
			return nil
		}
	}
}

// runPeers is `lab peers ADDRESS`.
func runPeers(args []string) error {
	if len(args) != 1 {
		return errors.New("an address is needed")
	}
	to, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	var conns []int
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		if err := obey(commands.Text(), to, &conns); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	return commands.Err()
}

func obey(command string, to netip.AddrPort, conns *[]int) error {
	var n, from, step int
	switch {
	case scan(command, "connect %d", &n):
		for range n {
			fd, err := dial(to)
			if err != nil {
				return err
			}
			*conns = append(*conns, fd)
		}
	case scan(command, "write %d %d %d", &from, &step, &n):
		one := []byte{'x'}
		for i := range n {
			if _, err := netcore.Send((*conns)[(from+i*step)%len(*conns)], one, false); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	case command == "reset":
		for _, fd := range *conns {
			if err := netcore.ResetOnClose(fd); err != nil {
				return err
			}
			netcore.Close(fd)
		}
		*conns = (*conns)[:0]
	default:
		return fmt.Errorf("unknown command %q", command)
	}
	return nil
}

func scan(s, format string, into ...any) bool {
	_, err := fmt.Sscanf(s, format, into...)
	return err == nil
}

// dial connects a blocking socket to an IPv4 address.
func dial(to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		netcore.Close(fd)
		return -1, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		netcore.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}
