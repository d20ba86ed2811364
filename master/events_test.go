package master

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Whoever comes late gets what is kept, and is told what is not.
func TestFeedKeepsTheLastEvents(t *testing.T) {
	var f feed
	kinds := func(since uint64) (ids []uint64, gap string) {
		events, _ := f.after(since)
		for _, e := range events {
			if e.Kind == EventGap {
				gap = e.Message
				if len(ids) != 0 {
					t.Error("the gap is not where the events are missing")
				}
				continue
			}
			ids = append(ids, e.ID)
		}
		return ids, gap
	}
	if ids, gap := kinds(0); ids != nil || gap != "" {
		t.Errorf("empty: %v %q", ids, gap)
	}
	_, more := f.after(0)
	for range 3 {
		f.publish(Event{Kind: EventWorkers})
	}
	select {
	case <-more:
	default:
		t.Error("nobody is told of an event")
	}
	if ids, gap := kinds(0); !slices.Equal(ids, []uint64{1, 2, 3}) || gap != "" {
		t.Errorf("%v %q", ids, gap)
	}
	if ids, gap := kinds(2); !slices.Equal(ids, []uint64{3}) || gap != "" {
		t.Errorf("since 2: %v %q", ids, gap)
	}
	if ids, gap := kinds(3); ids != nil || gap != "" {
		t.Errorf("since the last: %v %q", ids, gap)
	}
	if ids, gap := kinds(70); !slices.Equal(ids, []uint64{1, 2, 3}) || !strings.Contains(gap, "no event 70") {
		t.Errorf("since what another master has counted: %v %q", ids, gap)
	}
	for range keptEvents {
		f.publish(Event{Kind: EventWorkers})
	}
	ids, gap := kinds(1)
	if len(ids) != keptEvents || ids[0] != 4 || ids[keptEvents-1] != keptEvents+3 || gap != "2 events are not there any more" {
		t.Errorf("%d events from %d, %q", len(ids), ids[0], gap)
	}
	if ids, gap := kinds(3); len(ids) != keptEvents || gap != "" {
		t.Errorf("since the last that is lost: %d events, %q", len(ids), gap)
	}
}

// stream reads events from the control socket.
func (h *harness) stream(ctx context.Context, query, accept string) (*http.Response, *bufio.Scanner) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tined/v1/events"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := h.client().http.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { response.Body.Close() })
	return response, bufio.NewScanner(response.Body)
}

func (h *harness) emit(kind, message string) {
	h.m.do(func() { h.m.emit(kind, nil, message) })
}

func TestEventsOperation(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	response, lines := h.stream(h.context(), "", "")
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "application/x-ndjson" {
		t.Fatalf("%d %s", response.StatusCode, kind)
	}
	var last uint64
	next := func() (e Event) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the stream ends: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.ID != last+1 || e.Time.IsZero() || e.Generation != 1 {
			t.Errorf("%+v", e)
		}
		last = e.ID
		return e
	}
	// What has happened before comes first.
	seen := map[string]Event{}
	for seen[EventServing].ID == 0 {
		e := next()
		seen[e.Kind] = e
	}
	if e := seen[EventChildServing]; e.Child == nil || e.Pid != h.pid(*e.Child, 1) {
		t.Errorf("%+v", e)
	}
	h.emit(EventChore, "one")
	if e := next(); e.Kind != EventChore || e.Message != "one" || e.Child != nil {
		t.Errorf("%+v", e)
	}

	// A part of it, and its end.
	var got []Event
	take := func(e Event) error { got = append(got, e); return nil }
	if err := h.client().Events(h.context(), EventsRequest{Since: last - 1}, take); err != nil || len(got) != 1 || got[0].Message != "one" {
		t.Errorf("%+v, %v", got, err)
	}
	stop := fmt.Errorf("enough")
	if err := h.client().Events(h.context(), EventsRequest{Follow: true}, func(Event) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}

	// Server-sent events, also for one that comes back.
	response, sse := h.stream(h.context(), "?since="+fmt.Sprint(last-1), "text/event-stream")
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Error(kind)
	}
	var text []string
	for range 4 {
		sse.Scan()
		text = append(text, sse.Text())
	}
	if text[0] != fmt.Sprintf("id: %d", last) || text[1] != "event: chore" || !strings.HasPrefix(text[2], `data: {"id":`) || text[3] != "" {
		t.Errorf("%q", text)
	}
	request, _ := http.NewRequestWithContext(h.context(), http.MethodGet, "http://tined/v1/events?follow=false", nil)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Last-Event-ID", fmt.Sprint(last))
	if again, err := h.client().http.Do(request); err != nil || bufio.NewScanner(again.Body).Scan() {
		t.Errorf("Last-Event-ID is not heard: %v", err)
	}

	// The end of the master ends the streams, after its last event.
	h.signals <- syscall.SIGTERM
	for next().Kind != EventStopping {
	}
	for lines.Scan() {
	}
	if lines.Err() != nil {
		t.Error(lines.Err())
	}
}

// A reader that does not read holds nobody up, and learns later what it has missed.
func TestSlowReaderOfEvents(t *testing.T) {
	h := serve(t, testConfig(t.TempDir()), nil)
	c, err := net.Dial("unix", h.m.runtime.control)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET /v1/events HTTP/1.1\r\nHost: tined\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	// More than the connection can hold, and more than is kept: each takes about 1 KiB.
	word := strings.Repeat("x", 1000)
	for range 16 * keptEvents {
		h.emit(EventChore, word)
	}
	h.emit(EventChore, "the last")
	lines := bufio.NewScanner(response.Body)
	gap, last := false, Event{}
	for last.Message != "the last" {
		if !lines.Scan() {
			t.Fatalf("the stream ends: %v", lines.Err())
		}
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Kind == EventGap:
			gap = true
		case e.ID != last.ID+1 && !gap:
			t.Fatalf("event %d follows %d without a word", e.ID, last.ID)
		}
		last = e
	}
	if !gap {
		t.Error("nothing was missed: the test says nothing")
	}
}
