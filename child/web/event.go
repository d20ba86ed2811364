package web

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// An Event is one of the events that a browser's EventSource receives ("server-sent events", HTML standard, section 9.2:
// https://html.spec.whatwg.org/multipage/server-sent-events.html).
type Event struct {
	// Data is what the listener gets. Line ends of any kind (CR LF, LF, CR) separate its lines and arrive as LF. An event without data
	// sets ID and Retry, but no listener sees it.
	Data string
	// Name is the type of the event, for addEventListener; "": "message".
	Name string
	// ID is what the browser sends in Last-Event-ID when it connects again; "": as before.
	ID string
	// Retry is how long the browser waits before it connects again, in whole milliseconds; 0: as before.
	Retry time.Duration
}

// errEventField is what an Event says whose ID or Name would end its line.
var errEventField = errors.New("web: CR, LF or NUL in the name or the id of an event")

// Append appends the event in its wire form. It refuses an ID or a Name with CR, LF or NUL, which the format cannot carry.
func (e *Event) Append(dst []byte) ([]byte, error) {
	if strings.ContainsAny(e.ID, "\r\n\x00") || strings.ContainsAny(e.Name, "\r\n\x00") {
		return dst, errEventField
	}
	if e.Name != "" {
		dst = append(append(append(dst, "event: "...), e.Name...), '\n')
	}
	if e.ID != "" {
		dst = append(append(append(dst, "id: "...), e.ID...), '\n')
	}
	if e.Retry > 0 {
		dst = append(strconv.AppendInt(append(dst, "retry: "...), e.Retry.Milliseconds(), 10), '\n')
	}
	if e.Data != "" {
		dst = appendLines(dst, "data: ", e.Data)
	}
	return append(dst, '\n'), nil
}

// appendLines appends every line of text behind prefix.
func appendLines(dst []byte, prefix, text string) []byte {
	for more := true; more; {
		line := text
		at := strings.IndexAny(text, "\r\n")
		if more = at >= 0; more {
			line = text[:at]
			if text[at] == '\r' && at+1 < len(text) && text[at+1] == '\n' {
				at++
			}
			text = text[at+1:]
		}
		dst = append(append(append(dst, prefix...), line...), '\n')
	}
	return dst
}

// Send pushes an event. The response needs the Content-Type "text/event-stream", and "Cache-Control: no-store", which Events sets.
func (s *PushStream) Send(e Event) error {
	wire, err := e.Append(make([]byte, 0, len(e.Data)+len(e.Name)+len(e.ID)+64))
	if err != nil {
		return err
	}
	return s.Push(wire)
}

// Ping pushes a comment, which a browser ignores: it finds out whether the client is still there, and keeps the connection open in
// proxies that close silent ones.
func (s *PushStream) Ping() error { return s.Push([]byte(":\n\n")) }

// Events is Push for a stream of events: it sets Content-Type and Cache-Control.
func (w *Response) Events() (*PushStream, error) {
	w.header.Set("Content-Type", "text/event-stream")
	w.header.Set("Cache-Control", "no-store")
	return w.Push()
}
