package static

import (
	"sync"
	"time"
)

// How long an entry answers after its last stat, in ns. Together with rootFor it is one second.
const (
	// renewAfter: one request is sent to a worker, the others are still answered.
	renewAfter = int64(400 * time.Millisecond)
	// trustFor: nobody is answered any more without a look at the file system.
	trustFor = int64(900 * time.Millisecond)
	// renewAgain: if the request that was sent has brought nothing (its job was refused, its client has gone), another is.
	renewAgain = int64(100 * time.Millisecond)
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
	closed  bool
}

func newCache(b bounds) *cache {
	c := &cache{bounds: b, entries: map[string]*entry{}}
	c.list.next, c.list.prev = &c.list, &c.list
	return c
}

// get returns the entry called name if it may answer at the time now. It returns nil, once in a while, for an entry that is due for a
// look at the file system: the caller then does that.
func (c *cache) get(name []byte, now int64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[string(name)]
	if e == nil {
		return nil
	}
	if now >= e.renew {
		if now-e.checked >= trustFor {
			return nil
		}
		e.renew = now + renewAgain
		return nil
	}
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

// renew notes that e was found unchanged by a stat at the time now.
func (c *cache) renew(e *entry, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.checked, e.renew = now, now+renewAfter
}

// put adds an entry in place of the one with the same name. The cache becomes a user of its descriptor.
func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[e.key]; old != nil {
		c.dropLocked(old)
	}
	if c.closed || e.cost() > c.bounds.bytes {
		return
	}
	if e.file != nil {
		if c.bounds.files == 0 || !e.file.acquire() {
			return
		}
		c.files++
	}
	c.entries[e.key] = e
	c.bytes += e.cost()
	e.next, e.prev = c.list.next, &c.list
	e.next.prev, e.prev.next = e, e
	for len(c.entries) > c.bounds.entries || c.bytes > c.bounds.bytes {
		c.dropLocked(c.list.prev)
	}
	if c.files > c.bounds.files {
		c.shedLocked(c.bounds.files)
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
	for e := c.list.prev; e != &c.list && len(files) < (c.files+1)/2; e = e.prev {
		if e.file != nil && e.file.acquire() {
			files = append(files, e.file)
		}
	}
	c.shedLocked(c.files - len(files))
	c.mu.Unlock()
	for _, f := range files {
		f.releaseNow()
	}
}

// shedLocked forgets the entries used longest ago until no more than files hold a descriptor.
func (c *cache) shedLocked(files int) {
	for e := c.list.prev; e != &c.list && c.files > files; {
		older := e
		e = e.prev
		if older.file != nil {
			c.dropLocked(older)
		}
	}
}

// close forgets everything, for good.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.list.prev != &c.list {
		c.dropLocked(c.list.prev)
	}
}

func (c *cache) dropLocked(e *entry) {
	delete(c.entries, e.key)
	c.bytes -= e.cost()
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = nil, nil
	if e.file != nil {
		c.files--
		e.file.Release()
	}
}

func (c *cache) touchLocked(e *entry) {
	if c.list.next == e {
		return
	}
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = c.list.next, &c.list
	e.next.prev, e.prev.next = e, e
}
