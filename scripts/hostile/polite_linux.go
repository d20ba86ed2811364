package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// politeKept is how many kept connections the well-behaved client has at most; every
	// politeFresh-th request opens one of its own.
	politeKept  = 64
	politeFresh = 4
	// politePatience bounds a request: later is an error.
	politePatience = 5 * time.Second
	// politeHeap bounds the client's memory, for it collects no garbage while it measures.
	politeHeap = 512 << 20
)

// politeReport is what `hostile polite` prints. Times are in milliseconds.
type politeReport struct {
	Requests int      `json:"requests"`
	Errors   int      `json:"errors"`
	First    []string `json:"firstErrors,omitempty"` // of each kind
	P50      float64  `json:"p50"`
	P99      float64  `json:"p99"`
	Max      float64  `json:"max"`
	Slowest  string   `json:"slowest"` // the request that took Max, and when it was due
}

// courtesies are what the well-behaved client asks for in turn: the loop, a worker, a file
// and a body.
var courtesies = []struct{ request, answer string }{
	{"GET /plain HTTP/1.1\r\nHost: polite\r\n", rig.Greeting},
	{"GET /hello/you HTTP/1.1\r\nHost: polite\r\n", "Hello, you!\n"},
	{"GET /" + smallFile + " HTTP/1.1\r\nHost: polite\r\n", smallContent},
	{"POST /echo HTTP/1.1\r\nHost: polite\r\nContent-Length: 5\r\n", "hello"},
}

// polite is the well-behaved client.
type polite struct {
	address string
	start   time.Time
	idle    chan *keptConn // kept connections, nil for one that is still to be opened

	mu        sync.Mutex
	latencies []time.Duration
	slowest   string
	longest   time.Duration
	failures  map[string]int
	errors    int
}

type keptConn struct {
	net.Conn
	reader *bufio.Reader
}

// runPolite is `hostile polite`.
func runPolite(args []string) error {
	flags := flag.NewFlagSet("polite", flag.ExitOnError)
	address := flags.String("address", "", "server")
	rate := flags.Int("rate", 200, "requests a second")
	seconds := flags.Float64("seconds", 3, "how long")
	_ = flags.Parse(args)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(politeHeap)
	total := max(1, int(*seconds*float64(*rate)))
	p := newPolite(*address, total)
	return json.NewEncoder(os.Stdout).Encode(p.visit(total, time.Second/time.Duration(*rate)))
}

func newPolite(address string, total int) *polite {
	p := &polite{
		address: address, idle: make(chan *keptConn, politeKept), failures: make(map[string]int),
		latencies: make([]time.Duration, 0, total),
	}
	for range politeKept {
		p.idle <- nil
	}
	return p
}

// visit sends a request every gap. The clock does not wait for answers.
func (p *polite) visit(total int, gap time.Duration) politeReport {
	p.start = time.Now()
	var all sync.WaitGroup
	for i := range total {
		due := p.start.Add(time.Duration(i) * gap)
		time.Sleep(time.Until(due))
		all.Go(func() { p.request(i, due) })
	}
	all.Wait()
	slices.Sort(p.latencies)
	return politeReport{
		Requests: total, Errors: p.errors, First: p.kinds(), Slowest: p.slowest,
		P50: millis(percentile(p.latencies, 50)), P99: millis(percentile(p.latencies, 99)), Max: millis(percentile(p.latencies, 100)),
	}
}

func (p *polite) kinds() (kinds []string) {
	for text, n := range p.failures {
		kinds = append(kinds, fmt.Sprintf("%s (%d times)", text, n))
	}
	slices.Sort(kinds)
	return kinds
}

func (p *polite) request(i int, due time.Time) {
	what := courtesies[i%len(courtesies)]
	var err error
	fresh := i/len(courtesies)%politeFresh == 0
	if fresh {
		var c *keptConn
		if c, err = p.dial(due); err == nil {
			err = c.ask(what.request+"Connection: close\r\n", what.answer, due)
			c.Close()
		}
	} else {
		c := <-p.idle
		if c == nil {
			c, err = p.dial(due)
		}
		if err == nil {
			if err = c.ask(what.request, what.answer, due); err != nil {
				c.Close()
				c = nil
			}
		}
		p.idle <- c
	}
	took := time.Since(due)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.errors++
		p.failures[kindOf(err)]++
		return
	}
	if took > p.longest {
		p.longest = took
		connection := "a kept connection"
		if fresh {
			connection = "a new connection"
		}
		line, _, _ := strings.Cut(what.request, " HTTP")
		p.slowest = fmt.Sprintf("%s on %s, due after %.1f s", line, connection, due.Sub(p.start).Seconds())
	}
	p.latencies = append(p.latencies, took)
}

func (p *polite) dial(due time.Time) (*keptConn, error) {
	c, err := net.DialTimeout("tcp4", p.address, time.Until(due.Add(politePatience)))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &keptConn{c, bufio.NewReaderSize(c, 4096)}, nil
}

// ask makes one request and reads its answer, which must be a 200 with this content.
func (c *keptConn) ask(head, want string, due time.Time) error {
	if err := c.SetDeadline(due.Add(politePatience)); err != nil {
		return err
	}
	body := ""
	if strings.HasPrefix(head, "POST") {
		body = want
	}
	if _, err := io.WriteString(c, head+"\r\n"+body); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s", response.Status)
	}
	if string(content) != want {
		return errors.New("wrong content")
	}
	return nil
}

// kindOf is an error without the addresses that make each one different.
func kindOf(err error) string {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Op + ": " + operation.Err.Error()
	}
	return err.Error()
}

// percentile of sorted values, nearest rank; 0 of none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
