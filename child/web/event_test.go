package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestEventAppend(t *testing.T) {
	for _, c := range []struct {
		event web.Event
		want  string
	}{
		{web.Event{}, "\n"},
		{web.Event{Data: "a"}, "data: a\n\n"},
		{web.Event{Data: "a\nb\r\nc\rd"}, "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{web.Event{Data: "\n"}, "data: \ndata: \n\n"},
		{web.Event{Data: "a\r\n"}, "data: a\ndata: \n\n"},
		{web.Event{Data: " a: b", Name: "n", ID: "7", Retry: 1500 * time.Millisecond}, "event: n\nid: 7\nretry: 1500\ndata:  a: b\n\n"},
	} {
		got, err := c.event.Append([]byte("x"))
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("%+v: %q, %v, want %q", c.event, got, err, c.want)
		}
	}
	for _, bad := range []string{"\n", "a\rb", "a\x00b", "\r\n"} {
		for _, e := range []web.Event{{ID: bad}, {Name: bad}} {
			if got, err := e.Append([]byte("x")); err == nil || string(got) != "x" {
				t.Errorf("%+v: %q, %v", e, got, err)
			}
		}
	}
}

// parseEvent reads one event as a browser does (HTML standard, 9.2.6).
func parseEvent(wire string) (e web.Event, rest string) {
	var data []string
	for wire != "" {
		at := strings.IndexAny(wire, "\r\n")
		if at < 0 {
			return web.Event{}, "" // an incomplete event is dropped
		}
		line := wire[:at]
		if wire[at] == '\r' && at+1 < len(wire) && wire[at+1] == '\n' {
			at++
		}
		wire = wire[at+1:]
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			e.Name = value
		case "id":
			e.ID = value
		case "retry":
			fmt.Sscan(value, &e.Retry)
			e.Retry *= time.Millisecond
		}
	}
	e.Data = strings.Join(data, "\n")
	return e, wire
}

// What is sent is what arrives, whatever is in it: no data forges a line or an event.
func FuzzEvent(f *testing.F) {
	f.Add("data", "name", "id", int64(1))
	f.Add("a\nb\rc\r\nd\n", "", "", int64(0))
	f.Add("\n\nid: 1\n\n", "a\x00", "b\n", int64(-5))
	f.Fuzz(func(t *testing.T, data, name, id string, retry int64) {
		sent := web.Event{Data: data, Name: name, ID: id, Retry: time.Duration(retry%1e9) * time.Millisecond}
		wire, err := sent.Append(nil)
		if forbidden := strings.ContainsAny(name+id, "\r\n\x00"); err != nil || forbidden {
			if (err != nil) != forbidden {
				t.Fatalf("%+v: %v", sent, err)
			}
			return
		}
		got, rest := parseEvent(string(wire))
		sent.Data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
		sent.Retry = max(0, sent.Retry)
		if rest != "" || got != sent {
			t.Fatalf("sent %+v, got %+v and %q", sent, got, rest)
		}
	})
}

// A stream of events, as a program has it.
func TestEvents(t *testing.T) {
	var stream *web.PushStream
	h := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		var err error
		if stream, err = w.Events(); err != nil {
			t.Error(err)
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	r := webtest.Do(h, webtest.Request{Context: ctx})
	if r.Pushed == nil || r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%+v", r)
	}
	for _, err := range []error{stream.Send(web.Event{Data: "one"}), stream.Ping(), stream.Send(web.Event{Data: "two", ID: "2"})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Send(web.Event{ID: "a\nb"}); err == nil {
		t.Error("an ID of two lines was sent")
	}
	pieces, err := r.Pushed.Wait(t.Context(), 3)
	if err != nil || len(pieces) != 3 || r.Pushed.Text() != "data: one\n\n:\n\nid: 2\ndata: two\n\n" {
		t.Errorf("%q, %v", pieces, err)
	}
	lines := bufio.NewScanner(strings.NewReader(r.Pushed.Text()))
	for lines.Scan() {
		if strings.ContainsAny(lines.Text(), "\r\x00") {
			t.Errorf("%q", lines.Text())
		}
	}
	r.Pushed.Stall(true)
	if err := stream.Ping(); !errors.Is(err, web.ErrPushFull) {
		t.Errorf("a client that does not read: %v", err)
	}
	r.Pushed.Stall(false)
	r.Pushed.Drain()
	<-stream.Draining()
	leave()
	<-stream.Done()
	if err := stream.Ping(); !errors.Is(err, web.ErrPushClosed) {
		t.Errorf("a client that has gone: %v", err)
	}
	if r := webtest.Head(h, "/"); r.Pushed == nil || stream.Ping() == nil {
		t.Error("HEAD has a stream")
	}
}

func ExampleResponse_Events() {
	// The program keeps the streams and pushes to them; no goroutine waits for a client.
	var clients []*web.PushStream
	handler := web.HandlerFunc(func(w *web.Response, r *web.Request) {
		s, err := w.Events()
		if err != nil {
			web.Error(w, 500)
			return
		}
		clients = append(clients, s)
	})
	r := webtest.Get(handler, "/events")
	for _, s := range clients {
		if err := s.Send(web.Event{Name: "price", Data: "42\n43"}); err != nil {
			s.Close() // slow, or gone: the browser connects again
		}
	}
	fmt.Print(r.Pushed.Text())
	// Output:
	// event: price
	// data: 42
	// data: 43
}
