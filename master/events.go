package master

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kinds of events, in the order of a server's life.
const (
	EventServing       = "serving"        // the start is over
	EventStopping      = "stopping"       // a stop has begun
	EventReloaded      = "reloaded"       // a generation is committed
	EventRefused       = "refused"        // a reload changed nothing
	EventScaled        = "scaled"         // the number of children is another
	EventUpgrade       = "upgrade"        // an upgrade has come one step further
	EventUpgradeFailed = "upgrade_failed" // one has not come about
	EventChildServing  = "child_serving"  // a child accepts
	EventChildEnded    = "child_ended"    // a life is over
	EventChildHung     = "child_hung"     // a loop does not turn
	EventChildHeavy    = "child_heavy"    // a child is above its memory limit
	EventCrashLoop     = "crash_loop"     // a child's next start waits
	EventLent          = "lent"           // a sibling takes a child's shards
	EventReturned      = "returned"       // they are back
	EventAdopted       = "adopted"        // a child of an earlier master is taken over
	EventUnreachable   = "unreachable"    // one does not answer
	EventLogLevel      = "log_level"      // the operator has set it
	EventWorkers       = "workers"        // the operator has set their numbers
	EventLogsReopened  = "logs_reopened"
	EventRestarting    = "restarting" // a child gets a successor
	EventMoved         = "moved"      // a child that has left had handed connections over
	EventBalanced      = "balanced"   // connections have moved between children that stay
	EventChore         = "chore"      // a chore of the housekeeper has failed
	EventGap           = "gap"        // made for one reader: it has missed some
)

const (
	// keptEvents is how many events are kept for those who come later, or read slowly.
	keptEvents = 256
	// eventBound is how long a reader may leave a part of the stream untaken, before the connection is closed.
	eventBound = time.Minute
)

// Event is what has happened: an element of the stream of GET /v1/events.
type Event struct {
	// ID counts a master's events from 1.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	// Child is the index of the child that it is about, Pid its process; neither is there when it is about none.
	Child *int `json:"child,omitempty"`
	Pid   int  `json:"pid,omitempty"`
	// Generation is the one that serves.
	Generation uint64 `json:"generation"`
	Message    string `json:"message"`
}

// emit tells those who listen what has happened; c may be nil. Owner: the loop.
func (m *master) emit(kind string, c *child, message string) {
	e := Event{Time: m.now(), Kind: kind, Generation: m.generation, Message: message}
	if c != nil {
		e.Child, e.Pid = &c.slot.index, c.proc.Pid()
	}
	m.feed.publish(e)
}

// feed keeps the last events. The loop writes, and waits for no reader: each reads at its own pace what is still there, and is told what it
// has missed. The zero value is an empty feed. Any goroutine may use it.
type feed struct {
	mu   sync.Mutex
	last uint64            // ID of the newest event; 0: there was none
	ring [keptEvents]Event // the event ID is at ID modulo keptEvents
	more chan struct{}     // closed at the next event; nil: nobody waits
}

func (f *feed) publish(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	e.ID = f.last
	f.ring[e.ID%keptEvents] = e
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

// after returns the events that came after the event since, and a channel that is closed when there are more. What is not there any more is
// replaced by one event of the kind gap. A since that this master has not come to is of an earlier one: everything is new then.
func (f *feed) after(since uint64) (events []Event, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.more == nil {
		f.more = make(chan struct{})
	}
	oldest := uint64(1)
	if f.last > keptEvents {
		oldest = f.last - keptEvents + 1
	}
	var missed string
	switch {
	case since > f.last:
		missed = fmt.Sprintf("there is no event %d: another master counts from 1", since)
		since = oldest - 1
	case since+1 < oldest:
		missed = fmt.Sprintf("%d events are not there any more", oldest-1-since)
		since = oldest - 1
	}
	for id := since + 1; id <= f.last; id++ {
		events = append(events, f.ring[id%keptEvents])
	}
	if missed != "" {
		gap := Event{ID: since, Kind: EventGap, Message: missed}
		if len(events) > 0 {
			gap.Time, gap.Generation = events[0].Time, events[0].Generation
		}
		events = append([]Event{gap}, events...)
	}
	return events, f.more
}

// events streams, one JSON object a line, or as server-sent events when the client accepts these.
func (o *operator) events(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	since, follow, sse := uint64(0), true, strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	text := query.Get("since")
	if sse && text == "" {
		text = r.Header.Get("Last-Event-ID") // of one that comes back
	}
	var err error
	if text != "" {
		if since, err = strconv.ParseUint(text, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("events: since cannot be %.40q; write the id of an event, 0 for all that are kept", text))
			return
		}
	}
	if text := query.Get("follow"); text != "" {
		if follow, err = strconv.ParseBool(text); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("events: follow cannot be %.40q; write true or false", text))
			return
		}
	}
	kind, write := "application/x-ndjson", writeLine
	if sse {
		kind, write = "text/event-stream", writeSSE
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for ended := false; ; {
		events, more := o.m.feed.after(since)
		// Errors of these: the client has gone, or does not read.
		_ = control.SetWriteDeadline(time.Now().Add(eventBound))
		for _, e := range events {
			if write(w, e) != nil {
				return
			}
			since = e.ID
		}
		if control.Flush() != nil || !follow || ended {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		case <-o.left: // who follows finds the events to come at the other master
			ended = true // what came last is still to be told
		case <-o.m.done:
			ended = true
		}
	}
}

func writeLine(w io.Writer, e Event) error { return json.NewEncoder(w).Encode(e) }

func writeSSE(w io.Writer, e Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text)
	return err
}
