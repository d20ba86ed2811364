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
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
	// Pid is the master's, whose process ends in the next moment when State is stopped.
	Pid int `json:"pid"`
}

// WaitRequest is the body of what may be waited for; an empty body is the zero value.
type WaitRequest struct {
	// Wait asks for the answer after the end.
	Wait bool `json:"wait"`
}

// StateReply is the answer to what needs no more words, such as "reloading".
type StateReply struct {
	State string `json:"state"`
}

// ErrNotRunning: no master answers on the control socket.
var ErrNotRunning = errors.New("no master is running")

// RefusedError is what the master answered instead of doing what it was asked.
type RefusedError struct {
	Code    int // HTTP status
	Message string
	// Version is that of the interface of the master, such as "1.1"; "": it did not say.
	Version string

	body []byte
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

// Stop stops the master. With Wait it returns after the end, that of its process included: a supervisor that learns of the end by this
// command, as systemd does, kills what it still finds. Errors: as Status.
func (c *Client) Stop(ctx context.Context, r StopRequest) (*StopReply, error) {
	reply := new(StopReply)
	if err := c.call(ctx, http.MethodPost, "/v1/stop", r, reply); err != nil {
		return nil, err
	}
	if r.Wait && reply.Pid > 0 && reply.Pid != os.Getpid() { // a program may stop the master that it is
		if process, err := unix.PidfdOpen(reply.Pid, 0); err == nil {
			gone(process, endBound)
			_ = unix.Close(process)
		}
	}
	return reply, nil
}

// endBound is how long a master's process may take to its end once it has answered. It is a matter of milliseconds, unless the socket leads
// into a container, whose process numbers mean others here.
const endBound = 2 * time.Second

// gone waits for the end of a process.
func gone(process int, bound time.Duration) {
	for until := time.Now().Add(bound); ; {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// Children asks for the children. Errors: as Status.
func (c *Client) Children(ctx context.Context) (*Children, error) {
	reply := new(Children)
	return reply, c.call(ctx, http.MethodGet, "/v1/children", nil, reply)
}

// Scale sets the number of children, 0 for one per usable core, and returns when they serve. Errors: as Status.
func (c *Client) Scale(ctx context.Context, children int) (*Children, error) {
	var body struct {
		Count any `json:"count"`
	}
	if body.Count = children; children == 0 {
		body.Count = "auto"
	}
	reply := new(Children)
	return reply, c.call(ctx, http.MethodPut, "/v1/children", body, reply)
}

// Restart replaces the child at index by a successor; with Wait it returns when that serves. Errors: as Status.
func (c *Client) Restart(ctx context.Context, index int, r WaitRequest) (*StateReply, error) {
	reply := new(StateReply)
	return reply, c.call(ctx, http.MethodPost, fmt.Sprintf("/v1/children/%d/restart", index), r, reply)
}

// UpgradedMeanwhile is the reason of a reload that was refused because an upgrade, which it had waited for, has come about.
const UpgradedMeanwhile = "the server has been upgraded meanwhile; ask the new version"

// Reload reloads and returns how it ended, refused or not. When an upgrade comes about meanwhile, the new master is asked. Errors: as Status.
func (c *Client) Reload(ctx context.Context) (*Reload, error) {
	reply, err := c.reload(ctx)
	if err == nil && reply.Reason == UpgradedMeanwhile {
		return c.reload(ctx)
	}
	return reply, err
}

func (c *Client) reload(ctx context.Context) (*Reload, error) {
	reply := new(Reload)
	err := c.call(ctx, http.MethodPost, "/v1/reload", WaitRequest{Wait: true}, reply)
	if refused, ok := errors.AsType[*RefusedError](err); ok && json.Unmarshal(refused.body, reply) == nil && !reply.At.IsZero() {
		return reply, nil
	}
	return reply, err
}

// StartReload begins a reload. Errors: as Status.
func (c *Client) StartReload(ctx context.Context) (*StateReply, error) {
	reply := new(StateReply)
	return reply, c.call(ctx, http.MethodPost, "/v1/reload", WaitRequest{}, reply)
}

// Upgrade puts another image of the program in the server's place and calls take with each piece of news, the last of which has the outcome.
// It returns the outcome, refused or not, or take's error. Without an outcome, when the stream has ended before it since the master that
// was asked is gone, it returns nil: the master that is there then knows more. Errors: as Status.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest, take func(UpgradeProgress) error) (*Upgrade, error) {
	return c.upgrade(ctx, "/v1/upgrade", r, take)
}

// Rollback is Upgrade to the executable that served before this one; Binary must be empty.
func (c *Client) Rollback(ctx context.Context, r UpgradeRequest, take func(UpgradeProgress) error) (*Upgrade, error) {
	return c.upgrade(ctx, "/v1/rollback", r, take)
}

func (c *Client) upgrade(ctx context.Context, target string, r UpgradeRequest, take func(UpgradeProgress) error) (*Upgrade, error) {
	r.Wait = true
	response, err := c.send(ctx, http.MethodPost, target, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		_, err := c.read(response)
		outcome := new(Upgrade)
		if refused, ok := errors.AsType[*RefusedError](err); !ok || json.Unmarshal(refused.body, outcome) != nil || outcome.At.IsZero() {
			return nil, err
		}
		return outcome, take(UpgradeProgress{At: outcome.At, Text: failedText(outcome.Reason), Outcome: outcome})
	}
	for d := json.NewDecoder(response.Body); ; {
		var p UpgradeProgress
		if err := d.Decode(&p); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("control socket %s: %w", c.path, ctx.Err())
			}
			return nil, nil // however a stream ends that has no outcome
		}
		if err := take(p); err != nil {
			return p.Outcome, err
		}
		if p.Outcome != nil {
			return p.Outcome, nil
		}
	}
}

// failedText is the last piece of news of an upgrade that has not come about.
func failedText(reason string) string { return "failed: " + reason }

// Balance moves idle connections from children that have many to those that have few, and returns when they are there. Errors: as Status.
func (c *Client) Balance(ctx context.Context) (*Balance, error) {
	reply := new(Balance)
	return reply, c.call(ctx, http.MethodPost, "/v1/balance", nil, reply)
}

// Plan asks what a reload would do. Errors: as Status.
func (c *Client) Plan(ctx context.Context) (*Plan, error) {
	reply := new(Plan)
	return reply, c.call(ctx, http.MethodGet, "/v1/plan", nil, reply)
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

// LogLevel asks for the level of the log. Errors: as Status.
func (c *Client) LogLevel(ctx context.Context) (*LogLevel, error) {
	reply := new(LogLevel)
	return reply, c.call(ctx, http.MethodGet, "/v1/log-level", nil, reply)
}

// SetLogLevel sets the level of the log of all processes. Errors: as Status.
func (c *Client) SetLogLevel(ctx context.Context, level string) (*LogLevel, error) {
	reply := new(LogLevel)
	return reply, c.call(ctx, http.MethodPut, "/v1/log-level", LogLevelRequest{level}, reply)
}

// ReopenLogs reopens the log files, and returns when no child writes to the old ones any more. Errors: as Status.
func (c *Client) ReopenLogs(ctx context.Context) (*StateReply, error) {
	reply := new(StateReply)
	return reply, c.call(ctx, http.MethodPost, "/v1/logs/reopen", nil, reply)
}

// EventsRequest says which events to send.
type EventsRequest struct {
	// Since is the event after which to begin; 0: with the oldest that is kept.
	Since uint64
	// Follow goes on with those that come, until the master or ctx ends.
	Follow bool
}

// Events calls take with each event. It returns nil when there are no more, or take's error. Other errors: as Status.
func (c *Client) Events(ctx context.Context, r EventsRequest, take func(Event) error) error {
	target := fmt.Sprintf("/v1/events?since=%d&follow=%t", r.Since, r.Follow)
	response, err := c.send(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		_, err := c.read(response)
		return err
	}
	for d := json.NewDecoder(response.Body); ; {
		var e Event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("control socket %s: %w", c.path, err)
		}
		if err := take(e); err != nil {
			return err
		}
	}
}

// maxReply bounds an answer of the master, in bytes.
const maxReply = 16 << 20

func (c *Client) call(ctx context.Context, method, target string, body, reply any) error {
	response, err := c.send(ctx, method, target, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := c.read(response)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	return nil
}

// send returns the answer; its body is the caller's to close.
func (c *Client) send(ctx context.Context, method, target string, body any) (*http.Response, error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://tined"+target, &b)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w on %s", ErrNotRunning, c.path)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok { // it names a URL that nobody has written
		err = wrapped.Err
	}
	if dialled, ok := errors.AsType[*net.OpError](err); ok && dialled.Op == "dial" { // it names the socket a second time
		err = dialled.Err
	}
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", c.path, err)
	}
	return response, nil
}

// read returns the body of a 2xx, and an error for every other answer.
func (c *Client) read(response *http.Response) ([]byte, error) {
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", c.path, err)
	}
	if response.StatusCode/100 != 2 {
		var e errorReply
		if json.Unmarshal(answer, &e) != nil || e.Error == "" {
			e.Error = response.Status
		}
		return nil, &RefusedError{Code: response.StatusCode, Message: e.Error, Version: response.Header.Get("Tined-API"), body: answer}
	}
	return answer, nil
}
