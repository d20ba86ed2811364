package static

import (
	"sync"
	"time"
)

// How long an entry answers after its last stat, in ns. Together with rootFor it is one second.
const (
	// renewAfter: it is looked at again, if it has been used.
	renewAfter = int64(500 * time.Millisecond)
	// trustFor: nobody is answered any more without a look at the file system.
	trustFor = int64(900 * time.Millisecond)
	// idleFor: the files of an entry that nobody has used for so long are closed. One that was removed takes no space any more then.
	idleFor = int64(10 * time.Second)
)

// bounds is how much a cache may hold.
type bounds struct {
	entries int
	bytes   int64 // of memory, roughly
	files   int   // open descriptors
}

// defaultBounds are those of one route in one child.
var defaultBounds = bounds{entries: 16 << 10, bytes: 64 << 20, files: 512}

// A cache holds the entries that were used last. All methods may be called by any goroutine, the loop among them; none waits for
// more than memory.
type cache struct {
	bounds bounds

	mu      sync.Mutex
	entries map[string]*entry
	list    entry // ring: list.next was used last, list.prev is the next to go
	bytes   int64
	files   int
	due     []*appointment // about in the order of their time; some are of entries that have gone
	closed  bool
}

func newCache(b bounds) *cache {
	c := &cache{bounds: b, entries: map[string]*entry{}}
	c.list.next, c.list.prev = &c.list, &c.list
	return c
}

// get returns the entry called name if it may answer at the time now.
func (c *cache) get(name []byte, now int64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[string(name)]
	if e == nil || now-e.checked >= trustFor {
		return nil
	}
	e.used.Store(true)
	c.touchLocked(e)
	return e
}

// peek returns the entry called name, and whether a worker need not look at the file system again.
func (c *cache) peek(name string, now int64) (e *entry, recent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e = c.entries[name]
	return e, e != nil && now-e.checked < renewAfter
}

// renew notes that e was found unchanged by a stat that began at the time now.
func (c *cache) renew(e *entry, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.checked < now {
		e.checked = now
	}
	c.queueLocked(e)
}

// An appointment is an entry that is to be looked at again, counted from the look of the time at.
type appointment struct {
	e  *entry
	at int64
}

// queueLocked sees to it that e comes up for a look once it is due.
func (c *cache) queueLocked(e *entry) {
	if e.queued == nil && c.entries[e.key] == e {
		e.queued = &appointment{e, e.checked}
		c.due = append(c.due, e.queued)
	}
}

// nextDue takes the next entry whose last look is renewAfter ago, if it was used since. Those that nobody has used are left to themselves, but
// for their files, which are closed after idleFor. nil: none is due.
func (c *cache) nextDue(now int64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.due) > 0 && now-c.due[0].at >= renewAfter {
		e := c.due[0].e
		c.due[0] = nil
		c.due = c.due[1:]
		if e == nil { // it has gone
			continue
		}
		e.queued = nil
		switch {
		case now-e.checked < renewAfter: // a worker has looked meanwhile
			c.queueLocked(e)
		case e.used.Swap(false):
			e.seen = now
			return e
		case e.files() > 0 && now-e.seen < idleFor:
			e.queued = &appointment{e, now}
			c.due = append(c.due, e.queued)
		case e.files() > 0:
			c.dropLocked(e)
		}
	}
	return nil
}

// put adds an entry in place of the one with the same name. The cache becomes a user of its descriptors.
func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[e.key]; old != nil {
		c.dropLocked(old)
	}
	if c.closed || e.cost() > c.bounds.bytes {
		return
	}
	if e.plain.file != nil && (c.bounds.files == 0 || !e.plain.file.acquire()) {
		return
	}
	e.seen = e.checked
	c.entries[e.key] = e
	c.bytes += e.cost()
	c.files += e.files()
	e.next, e.prev = c.list.next, &c.list
	e.next.prev, e.prev.next = e, e
	c.queueLocked(e)
	c.boundLocked()
}

// boundLocked drops what is too much.
func (c *cache) boundLocked() {
	for len(c.entries) > c.bounds.entries || c.bytes > c.bounds.bytes {
		c.dropLocked(c.list.prev)
	}
	if c.files > c.bounds.files {
		c.shedLocked(c.bounds.files)
	}
}

// addForm gives an entry a further form, whose descriptor becomes the cache's. false: the entry is not in the cache (any more), so the
// form is the caller's to release, or has one already.
func (c *cache) addForm(e *entry, f *form) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.key] != e || !e.coded[f.coding].CompareAndSwap(nil, f) {
		return false
	}
	cost := f.cost()
	e.packed.Add(cost)
	c.bytes += cost
	if f.file != nil {
		c.files++
	}
	c.boundLocked()
	return true
}

// forget drops an entry, unless another one has taken its place.
func (c *cache) forget(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.key] == e {
		c.dropLocked(e)
	}
}

// remove forgets the entry called name.
func (c *cache) remove(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[name]; e != nil {
		c.dropLocked(e)
	}
}

// shed closes half of the descriptors, those not used for longest, and has closed them when it returns, but those that responses are
// being sent from: the process has run out of descriptors. It may wait for the file system.
func (c *cache) shed() {
	var files []*descriptor
	c.mu.Lock()
	enough := (c.files + 1) / 2
	for e := c.list.prev; e != &c.list && len(files) < enough; e = e.prev {
		for _, f := range e.descriptors() {
			if f.acquire() {
				files = append(files, f)
			}
		}
	}
	c.shedLocked(c.files - len(files))
	c.mu.Unlock()
	for _, f := range files {
		f.releaseNow()
	}
}

// shedLocked forgets the entries used longest ago until no more than files descriptors are held.
func (c *cache) shedLocked(files int) {
	for e := c.list.prev; e != &c.list && c.files > files; {
		older := e
		e = e.prev
		if older.files() > 0 {
			c.dropLocked(older)
		}
	}
}

// shedCoded forgets the entries used longest ago whose coded forms are in files, until those of at least n bytes have gone; but none that
// was used within idleFor. They are closed when it returns, but those that responses are being sent from.
func (c *cache) shedCoded(n, now int64) {
	var files []*descriptor
	c.mu.Lock()
	for e := c.list.prev; e != &c.list && n > 0; {
		older, held := e, false
		e = e.prev
		if now-older.seen < idleFor || older.used.Load() {
			continue // it would be packed again at once
		}
		for i := range older.coded {
			if f := older.coded[i].Load(); f != nil && f != &older.plain && f.file != nil && f.file.acquire() {
				files, held = append(files, f.file), true
				n -= f.content.Size
			}
		}
		if held {
			c.dropLocked(older)
		}
	}
	c.mu.Unlock()
	for _, f := range files {
		f.releaseNow()
	}
}

// close forgets everything, for good.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.due = nil
	for c.list.prev != &c.list {
		c.dropLocked(c.list.prev)
	}
}

func (c *cache) dropLocked(e *entry) {
	delete(c.entries, e.key)
	if e.queued != nil {
		e.queued.e = nil // what has gone takes no memory
	}
	c.bytes -= e.cost()
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = nil, nil
	c.files -= e.files()
	e.close()
}

func (c *cache) touchLocked(e *entry) {
	if c.list.next == e {
		return
	}
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = c.list.next, &c.list
	e.next.prev, e.prev.next = e, e
}

// awaits reports whether entries will come up.
func (c *cache) awaits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.due) > 0
}
