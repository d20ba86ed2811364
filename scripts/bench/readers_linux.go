package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/scripts/internal/rig"
	"github.com/tined/tined/scripts/internal/stats"
)

// readersCase is the name of the case.
const readersCase = "slow-readers"

const (
	slowPath = "/100m.bin"
	slowSize = 100 << 20
	// slowReaders each read slowRate bytes a second, slowPiece at a time, out of a receive buffer of slowBuffer (of which the kernel makes
	// twice as much, socket(7)).
	slowReaders = 500
	slowRate    = 75_000
	slowPiece   = 16 << 10
	slowBuffer  = 16 << 10
	slowSegment = 1460
	// smallPath is what the ordinary clients ask for.
	smallPath = "/1k.txt"
	// readersPatience bounds the wait until all of them read.
	readersPatience = 20 * time.Second
)

// readersBar is for the ratio of a small file's p99 beside the slow readers to that alone.
var readersBar = Bar{What: "p99 beside slow readers, to alone", Value: 2, Gross: 50}

// readersReport is what `bench readers` prints, in bytes of bodies and heads.
type readersReport struct {
	Received int64 `json:"received"`
	Least    int64 `json:"least"` // by one of them
}

// slowReaders measures every server alone, and beside the readers, in every round.
func (b *bench) slowReaders() (*Result, error) {
	servers, err := b.start(Case{Name: readersCase, Of: slowSize}) // which the limit takes no part in
	if err != nil {
		return nil, err
	}
	defer stop(servers)
	alone, beside := make(map[string][]float64), make(map[string][]float64)
	for round := range b.rounds {
		for _, s := range servers {
			quiet, err := b.ordinary(s.Address, smallPath, b.seconds)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", readersCase, s.name, err)
			}
			busy, slow, err := b.besideReaders(s.Server)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", readersCase, s.name, err)
			}
			alone[s.name] = append(alone[s.name], quiet.P99)
			beside[s.name] = append(beside[s.name], busy.P99)
			const line = "alone p50 %.0f p99 %.0f µs; beside %d readers (%d MB in all, %d kB at least) p50 %.0f p99 %.0f µs"
			b.progress(readersCase, round, s.name, fmt.Sprintf(line,
				quiet.P50, quiet.P99, slowReaders, slow.Received/1e6, slow.Least/1e3, busy.P50, busy.P99))
		}
	}
	result := &Result{Case: readersCase}
	for _, s := range servers {
		result.Figures = append(result.Figures, Figures{Server: s.name, P99: alone[s.name]})
		j := judge(s.name, readersBar, stats.Paired(beside[s.name], alone[s.name]))
		if s.name == tined {
			result.Bars = append(result.Bars, j)
		} else {
			result.Reference = append(result.Reference, j)
		}
	}
	return result, nil
}

// besideReaders measures the small file once every slow reader has begun to read. As the hog they have the kernel's idle class.
func (b *bench) besideReaders(s *rig.Server) (report openLoopReport, slow readersReport, err error) {
	readers, err := b.crew.Start(loadCore, nil, "chrt", "-i", "0", b.self, "readers", "-address", s.Address)
	if err != nil {
		return report, slow, err
	}
	defer readers.End()
	for deadline := time.Now().Add(readersPatience); !strings.Contains(readers.Output(), readersBegun); {
		select {
		case <-readers.Ended():
			return report, slow, errors.New("the readers have ended: " + readers.Output())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return report, slow, fmt.Errorf("%d readers have not begun after %v: %s", slowReaders, readersPatience, readers.Output())
		}
	}
	if report, err = b.ordinary(s.Address, smallPath, b.seconds); err != nil {
		return report, slow, err
	}
	_ = syscall.Kill(readers.Pid, syscall.SIGTERM)
	output, err := readers.Wait()
	if err != nil {
		return report, slow, err
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(output, readersBegun)), &slow); err != nil {
		return report, slow, fmt.Errorf("client's report %q: %w", output, err)
	}
	if slow.Least == 0 {
		return report, slow, errors.New("a slow reader got nothing")
	}
	return report, slow, nil
}

// readersLag is how late a reader may be and still have its turn.
const readersLag = 20 * time.Millisecond

// readersBegun is the line that `bench readers` prints when every reader has got the beginning of its answer.
const readersBegun = "reading\n"

// reader is one connection.
type reader struct {
	fd       int
	received int64
}

// runReaders is `bench readers`: connections that read an answer slowly, one after the other at even distances, until SIGTERM. One thread
// runs it. What has not come yet when its turn is there is left for its next turn.
func runReaders(args []string) error {
	flags := flag.NewFlagSet("readers", flag.ExitOnError)
	address := flags.String("address", "", "server")
	path := flags.String("path", slowPath, "path of a long file")
	connections := flags.Int("connections", slowReaders, "readers")
	rate := flags.Int("rate", slowRate, "bytes a second, of each")
	_ = flags.Parse(args)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	runtime.LockOSThread()
	all := make([]reader, *connections)
	for i := range all {
		var err error
		if all[i].fd, err = dialReader(*address, *path); err != nil {
			return fmt.Errorf("reader %d: %w", i, err)
		}
	}
	piece := make([]byte, slowPiece)
	for i := range all {
		if err := all[i].begin(piece); err != nil {
			return fmt.Errorf("reader %d: %w", i, err)
		}
	}
	os.Stdout.WriteString(readersBegun)
	begun := slices.Clone(all)
	gap := time.Duration(float64(time.Second) * slowPiece / float64(*rate) / float64(*connections))
	due := time.Now()
	for turn := 0; ; turn++ {
		select {
		case <-ended:
			r := readersReport{Least: slowSize}
			for i := range all {
				n := all[i].received - begun[i].received
				r.Received += n
				r.Least = min(r.Least, n)
			}
			return json.NewEncoder(os.Stdout).Encode(r)
		default:
		}
		if err := all[turn%len(all)].read(piece); err != nil {
			return fmt.Errorf("reader %d: %w", turn%len(all), err)
		}
		due = due.Add(gap)
		switch early := time.Until(due); {
		case early > 0:
			time.Sleep(early)
		case early < -readersLag:
			due = time.Now() // what is later is not made up for: a burst would be no slow reader
		}
	}
}

// dialReader connects with a small receive buffer, and asks.
func dialReader(address, path string) (int, error) {
	host, port, _ := strings.Cut(address, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host != "127.0.0.1" {
		return 0, fmt.Errorf("-address is %q: give 127.0.0.1 and a port", address)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	// Before the connection is made, or the window that is told to the server has its scale already (tcp(7)).
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, slowBuffer); err != nil {
		return 0, fmt.Errorf("SO_RCVBUF: %w", err)
	}
	// Segments as of an Ethernet: those of loopback are longer than the buffer, and the server's kernel would wait for timers.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, slowSegment); err != nil {
		return 0, fmt.Errorf("TCP_MAXSEG: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(n), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	if _, err := unix.Write(fd, []byte(request(path))); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return fd, nil
}

// begin waits for the head, which has to be a 200's. Nothing waits for this connection afterwards.
func (r *reader) begin(piece []byte) error {
	n, err := unix.Read(r.fd, piece)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if !bytes.HasPrefix(piece[:n], []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("the answer begins with %.40q", piece[:n])
	}
	r.received = int64(n)
	return unix.SetNonblock(r.fd, true)
}

// read takes a piece of what has come.
func (r *reader) read(piece []byte) error {
	n, err := unix.Read(r.fd, piece)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case n == 0:
		return errors.New("the server has closed the connection")
	}
	r.received += int64(n)
	return nil
}
