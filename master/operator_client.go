package master

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/tined/tined/netcore/control"
)

// Status is the answer to GET /v1/status. Times are seconds.
type Status struct {
	// Version is the program's version, Pid the master's.
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	// State is starting, serving or stopping.
	State         string  `json:"state"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Configuration is the file's absolute path; empty without one.
	Configuration string `json:"configuration"`
	Generation    uint64 `json:"generation"`
	Digest        string `json:"digest"`
	// Listeners are in the order of the configuration, Children by index. A child that was replaced
	// and still drains follows its successor.
	Listeners []ListenerStatus `json:"listeners"`
	Children  []ChildStatus    `json:"children"`
	// LogDropped counts log lines of the whole tree that nobody took.
	LogDropped uint64 `json:"log_dropped"`
}

// ListenerStatus is one listener.
type ListenerStatus struct {
	Name string `json:"name"`
	// Address has the real port: "127.0.0.1:8080", "unix:/run/x.sock".
	Address string `json:"address"`
	// Shards is the number of listening sockets; 0 once a stop has closed them.
	Shards int `json:"shards"`
}

// ChildStatus is one child.
type ChildStatus struct {
	Index int `json:"index"`
	// Pid is 0 while nothing runs.
	Pid int `json:"pid"`
	// State is that of child.go, or "waiting" between two lives.
	State         string  `json:"state"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Restarts counts lives after the first, Faults those in a row that the child ended by its own
	// fault; LastEnd says in words how the last one ended.
	Restarts uint64 `json:"restarts"`
	Faults   int    `json:"faults"`
	LastEnd  string `json:"last_end,omitempty"`
	// Numbers is nil when the child did not report in time.
	Numbers *control.Numbers `json:"numbers,omitempty"`
}

// StopRequest is the body of POST /v1/stop; an empty body is the zero value.
type StopRequest struct {
	// Wait asks for the answer after the end: no child is left, and nothing listens any more.
	Wait bool `json:"wait"`
	// Fast does not drain.
	Fast bool `json:"fast"`
}

// StopReply is the answer to POST /v1/stop.
type StopReply struct {
	// State is stopping, or stopped when Wait was asked for.
	State string `json:"state"`
}

// ErrNotRunning: no master answers on the control socket.
var ErrNotRunning = errors.New("no master is running")

// RefusedError is what the master answered instead of doing what it was asked.
type RefusedError struct {
	Code    int // HTTP status
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

// Client speaks to a running master. It may be used by many goroutines.
type Client struct {
	path string
	http http.Client
}

// NewClient makes a client of the master on the control socket at path (see ControlPath). It does
// not connect yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks for the status. Errors: ErrNotRunning, a *RefusedError, the context's.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, s)
}

// Stop stops the master. With Wait it returns after the end. Errors: as Status.
func (c *Client) Stop(ctx context.Context, r StopRequest) (*StopReply, error) {
	reply := new(StopReply)
	return reply, c.call(ctx, http.MethodPost, "/v1/stop", r, reply)
}

// Workers asks for the numbers of workers. Errors: as Status.
func (c *Client) Workers(ctx context.Context) (*Workers, error) {
	reply := new(Workers)
	return reply, c.call(ctx, http.MethodGet, "/v1/workers", nil, reply)
}

// SetWorkers sets the numbers of workers of each child, and returns when the children have them. Errors: as Status.
func (c *Client) SetWorkers(ctx context.Context, r WorkersRequest) (*Workers, error) {
	reply := new(Workers)
	return reply, c.call(ctx, http.MethodPut, "/v1/workers", r, reply)
}

// maxReply bounds an answer of the master, in bytes.
const maxReply = 16 << 20

func (c *Client) call(ctx context.Context, method, target string, body, reply any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://tined"+target, &b)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w on %s", ErrNotRunning, c.path)
	}
	if err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	if response.StatusCode/100 != 2 {
		var e errorReply
		if json.Unmarshal(answer, &e) != nil || e.Error == "" {
			e.Error = response.Status
		}
		return &RefusedError{Code: response.StatusCode, Message: e.Error}
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	return nil
}
