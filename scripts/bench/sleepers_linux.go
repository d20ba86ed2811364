package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// sleepersReport is what `bench sleepers` prints.
type sleepersReport struct {
	Calls    int `json:"calls"`
	Answered int `json:"answered"` // 200
	Refused  int `json:"refused"`  // 503 with Retry-After
	Failed   int `json:"failed"`   // anything else
	// Failure is the first of them.
	Failure string `json:"failure,omitempty"`
}

// sleepers call a handler that sleeps, at a steady rate, whether or not earlier calls have been answered.
type sleepers struct {
	url    string
	client http.Client

	mu     sync.Mutex
	report sleepersReport
}

// runSleepers is `bench sleepers`: it begins with as many calls as a steady rate would have under way by now, each with some part of its
// sleep before it, goes on at that rate until it is told to end (SIGTERM), and reports.
func runSleepers(args []string) error {
	flags := flag.NewFlagSet("sleepers", flag.ExitOnError)
	address := flags.String("address", "", "server")
	path := flags.String("path", sleepPath, "path of the handler")
	rate := flags.Int("rate", sleepRate, "calls a second")
	sleep := flags.Duration("sleep", sleepTime, "sleep of a call")
	first := flags.Int("first", 0, "calls to begin with")
	_ = flags.Parse(args)

	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := &sleepers{url: "http://" + *address + *path + "?seconds="}
	s.client.Transport = &http.Transport{DialContext: dialForReset, MaxIdleConnsPerHost: 1 << 16}
	var calls sync.WaitGroup
	call := func(d time.Duration) { calls.Go(func() { s.call(ended, d) }) }
	due, wait := time.Now(), time.NewTimer(0)
	defer wait.Stop()
	for i := 0; ; i++ {
		select {
		case <-wait.C:
		case <-ended.Done():
		}
		if ended.Err() != nil {
			break
		}
		d, gap := *sleep, time.Second/time.Duration(*rate)
		if i < *first {
			_, part := math.Modf(float64(i+1) * math.Phi) // evenly spread, from the start on
			d, gap = time.Duration(part*float64(d)), firstGap
		}
		call(d)
		due = due.Add(gap)
		wait.Reset(time.Until(due)) // what is late catches up
	}
	calls.Wait()
	return json.NewEncoder(os.Stdout).Encode(&s.report)
}

// dialForReset connects so that closing is a reset: behind an orderly close a client may still wait for its answer, so the server goes on
// with it.
func dialForReset(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetLinger(0)
}

// call makes one call and counts its answer, if there is one before the end.
func (s *sleepers) call(ended context.Context, d time.Duration) {
	outcome := func(count func(r *sleepersReport)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		count(&s.report)
	}
	outcome(func(r *sleepersReport) { r.Calls++ })
	err := s.ask(ended, d, outcome)
	if err != nil && ended.Err() == nil {
		outcome(func(r *sleepersReport) {
			if r.Failed++; r.Failed == 1 {
				r.Failure = err.Error()
			}
		})
	}
}

func (s *sleepers) ask(ended context.Context, d time.Duration, outcome func(func(*sleepersReport))) error {
	request, err := http.NewRequestWithContext(ended, http.MethodGet, fmt.Sprintf("%s%.3f", s.url, d.Seconds()), nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusOK:
		outcome(func(r *sleepersReport) { r.Answered++ })
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		outcome(func(r *sleepersReport) { r.Refused++ })
	default:
		return fmt.Errorf("answer %s", response.Status)
	}
	return nil
}
