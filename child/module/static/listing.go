package static

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// The way of a listing: viewOf finds what is asked for, one worker a view reads the directory (reading), keeps what is shown of it
// (selection), writes it down (appendHTML, encodeJSON), and all who asked for that view meanwhile send the same sheet.

const (
	// namesRead is how many names are read of one directory, and the largest max_entries.
	namesRead = 1_000_000
	// looksTaken is how many files of one directory are looked at to choose those that are shown, unless more are shown.
	looksTaken = 100_000
	// readersQueue is how many requests of a route read a directory, or wait to.
	readersQueue = 16
	// sheetFor is how long a sheet is sent after its reading has begun (ns). Together with rootFor it is one second.
	sheetFor = int64(900 * time.Millisecond)
	// sheetRests is how long memory is held for a sheet that nobody may be sent any more, unless another needs the room.
	sheetRests = 5 * time.Second
	// sheetBytes is how much memory the sheets of a route take between two requests, in bytes.
	sheetBytes = 16 << 20
)

// sortKey is what entries are ordered by.
type sortKey uint8

const (
	byName sortKey = iota
	bySize
	byTime
)

// As the configuration and queries write them.
var (
	sortNames  = []string{byName: "name", bySize: "size", byTime: "time"}
	orderNames = []string{"asc", "desc"}
)

// An order is that of the entries on a sheet; folders are first in all of them.
type order struct {
	by   sortKey
	down bool
}

// direction is order in queries.
func (o order) direction() string {
	if o.down {
		return orderNames[1]
	}
	return orderNames[0]
}

// listingOptions are listing { }.
type listingOptions struct {
	order      order // unless the query asks for another
	maxEntries int
}

// listingSpec describes listing { }.
func listingSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "listing", Doc: "lists directories that have no index file, as HTML or JSON",
		Attributes: []configs.Attribute{
			{Name: "sort", Type: configs.String, Default: sortNames[byName], OneOf: sortNames, Doc: "what the entries are ordered by, folders first"},
			{Name: "order", Type: configs.String, Default: orderNames[0], OneOf: orderNames, Doc: "ascending or descending"},
			{Name: "max_entries", Type: configs.Int, Default: 10_000, Min: 1, Max: namesRead, Doc: "how many entries of a directory are shown"},
		},
	}
}

// listingOptionsOf reads a block that has been checked.
func listingOptionsOf(b *configs.Block) *listingOptions {
	return &listingOptions{
		order:      order{by: sortKey(slices.Index(sortNames, b.String("sort"))), down: b.String("order") == orderNames[1]},
		maxEntries: b.Int("max_entries"),
	}
}

// A listing makes the sheets of one route. Its methods may be called by any goroutine.
type listing struct {
	listingOptions
	pieces []piece // of the HTML
	policy string  // its Content-Security-Policy
	names  int     // namesRead
	looks  int     // looksTaken, or maxEntries
	turn   chan struct{}
	queue  atomic.Int32 // of those who read, and wait to

	mu     sync.Mutex
	sheets map[string]*sheet // being made, or to be sent again
	bytes  int               // of those to be sent again
}

func newListing(o *listingOptions) *listing {
	l := &listing{listingOptions: *o, names: namesRead, looks: max(looksTaken, o.maxEntries), sheets: map[string]*sheet{}, turn: make(chan struct{}, 1)}
	l.pieces, l.policy = parsePage(listingPage)
	return l
}

// A sheet is a directory as one view shows it. body, tag and err may be read once done is closed.
type sheet struct {
	done chan struct{}
	body []byte
	tag  string
	err  error

	begun int64 // when the reading was, monotonic ns

	gone *time.Timer // under listing.mu: forgets a sheet that is kept, and counts in bytes; nil: it is not
}

// list answers GET and HEAD with what is in the directory called key. An error is the caller's to answer.
func (s *server) list(w *web.Response, r *web.Request, key string) error {
	if !isDirectory(key) || !strings.HasSuffix(r.Path, "/"+key) {
		return unix.ENOENT // the links would be those of another directory
	}
	v := s.listing.viewOf(r)
	if len(s.rules) > 0 { // who asks decides what is shown
		made := &sheet{}
		if made.body, made.err = s.sheetOf(r, key, v); made.err == nil {
			made.tag = contentTag(made.body)
			s.sendSheet(w, r, key, v, made)
		}
		return made.err
	}
	// No path has a NUL: two that differ never make the same id.
	id := strings.Join([]string{v.String(), key, r.Path}, "\x00")
	for {
		shared, leader := s.listing.join(id, s.now())
		if leader {
			s.draw(shared, r, id, key, v)
		}
		select {
		case <-shared.done:
		case <-r.Context().Done():
			return errLeft
		}
		switch {
		case shared.err == nil:
			s.sendSheet(w, r, key, v, shared)
		case shared.err == errLeft && r.Context().Err() == nil:
			continue // it was another's client that has gone
		}
		return shared.err
	}
}

// enter waits until the caller may read a directory: one at a time does, since the loop shares the processor, and who waits holds a worker.
// leave ends the reading.
func (l *listing) enter(ctx context.Context) error {
	if l.queue.Add(1) > readersQueue {
		l.queue.Add(-1)
		return errCrowded
	}
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.queue.Add(-1)
		return errLeft
	}
}

func (l *listing) leave() {
	<-l.turn
	l.queue.Add(-1)
}

// draw makes a sheet for all who wait for it.
func (s *server) draw(to *sheet, r *web.Request, id, key string, v view) {
	to.err = errors.New("static: the worker panicked") // unless it returns
	defer func() { s.listing.land(id, to, s.now()) }()
	body, err := s.sheetOf(r, key, v)
	if err == nil {
		to.body, to.tag = body, contentTag(body)
	}
	to.err = err
}

// join returns the sheet of that id, made or being made. The leader has to make and land it.
func (l *listing) join(id string, now int64) (_ *sheet, leader bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if present := l.sheets[id]; present != nil {
		if present.gone == nil || now-present.begun < sheetFor {
			return present, false
		}
		l.dropLocked(id, present)
	}
	started := &sheet{done: make(chan struct{}), begun: now}
	l.sheets[id] = started
	return started, true
}

// land wakes those who wait, and keeps the sheet for a moment if there is room.
func (l *listing) land(id string, landed *sheet, now int64) {
	l.mu.Lock()
	if landed.err == nil && l.roomLocked(landed.cost(id), now) {
		l.bytes += landed.cost(id)
		landed.gone = time.AfterFunc(sheetRests, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.dropLocked(id, landed)
		})
	} else {
		delete(l.sheets, id)
	}
	l.mu.Unlock()
	close(landed.done)
}

// roomLocked reports whether there is room for that many bytes, when what is too old has gone.
func (l *listing) roomLocked(bytes int, now int64) bool {
	if bytes > sheetBytes {
		return false
	}
	if l.bytes+bytes > sheetBytes {
		for id, one := range l.sheets {
			if one.gone != nil && now-one.begun >= sheetFor {
				l.dropLocked(id, one)
			}
		}
	}
	return l.bytes+bytes <= sheetBytes
}

// dropLocked forgets a sheet that was kept, unless that has been done.
func (l *listing) dropLocked(id string, kept *sheet) {
	if l.sheets[id] == kept {
		kept.gone.Stop()
		delete(l.sheets, id)
		l.bytes -= kept.cost(id)
	}
}

// cost is the memory of a sheet in bytes, roughly.
func (h *sheet) cost(id string) int { return 512 + len(id) + cap(h.body) }

// sendSheet answers as the conditions of the request want it. There are no ranges: a sheet is made anew each time.
func (s *server) sendSheet(w *web.Response, r *web.Request, key string, v view, h *sheet) {
	content := web.Representation{Size: int64(len(h.body)), ETag: h.tag}
	verdict := content.Evaluate(r)
	if verdict.Status == http.StatusPreconditionFailed {
		s.refuse(w, r, http.StatusPreconditionFailed)
		return
	}
	caching := "no-cache"
	if len(s.rules) > 0 {
		caching = "private, no-cache"
	}
	header := w.Header()
	header.Set("Cache-Control", caching)
	fields := s.commonFields(key, web.Field{Name: "ETag", Value: h.tag})
	for _, f := range addToken(fields, "Vary", "Accept") {
		header.Set(f.Name, f.Value)
	}
	if !v.json {
		header.Set("Content-Security-Policy", s.listing.policy) // made for this page: another would take its style away
	}
	if verdict.Status == http.StatusNotModified {
		w.SetStatus(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", v.contentType())
	w.SendBytes(h.body)
}
