package sqlite

import (
	"container/list"
	"hash/maphash"
	"sync"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/child/web"
)

// maxCached is the largest answer that is kept, in bytes.
const maxCached = 64 << 10

// entryCost is what an entry takes beside its texts and its body, about, in bytes.
const entryCost = 512

// A question is what an answer depends on, beside the content of its database: who asks does not change what a named query finds. Its texts are
// those of the request, and two that mean the same are two questions.
type question struct {
	database string
	query    int
	format   wire.Format
	path     string // below the database
	search   string // the query string
}

// An answered question, with the content that it was answered from.
type answered struct {
	question
	tag     engine.Tag
	etag    string
	control string // Cache-Control
	reply   *web.Fixed
	size    int64
}

// A cache holds the answers to questions that were asked lately, in bounded memory. An answer counts only as long as the database has the tag that
// it was made of, which is compared by who asks: nothing has to be thrown away when something is written.
//
// Any goroutine may use it.
type cache struct {
	limit int64

	mu     sync.Mutex
	size   int64
	byKey  map[question]*list.Element // of *answered
	recent list.List                  // the one used last at the front
	asked  [1 << 12]uint64            // hashes of questions that were asked once, each in the place of its last bits
}

var seed = maphash.MakeSeed()

func newCache(limit int64) *cache {
	return &cache{limit: limit, byKey: map[question]*list.Element{}}
}

// admits reports whether the answer to q is worth keeping: it is if the same was asked a little while ago. Most of many different questions never
// come again, and would only drive out those that do.
func (c *cache) admits(q *question) bool {
	if c.limit == 0 {
		return false
	}
	h := maphash.Comparable(seed, *q)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[*q] != nil {
		return true
	}
	place := &c.asked[h%uint64(len(c.asked))]
	if *place == h {
		return true
	}
	*place = h
	return false
}

// get returns the answer to q from a content with that tag, nil if there is none. q's texts need not outlive the call.
func (c *cache) get(q *question, tag engine.Tag) *answered {
	if c.limit == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[*q]
	if e == nil {
		return nil
	}
	a := e.Value.(*answered)
	if a.tag != tag {
		return nil // it is replaced by who answers now
	}
	c.recent.MoveToFront(e)
	return a
}

// put keeps an answer, in the place of an older one.
func (c *cache) put(a *answered) {
	a.size += int64(entryCost + len(a.path) + len(a.search))
	if a.size > maxCached || a.size > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[a.question]; e != nil {
		c.drop(e)
	}
	c.byKey[a.question] = c.recent.PushFront(a)
	c.size += a.size
	for c.size > c.limit {
		c.drop(c.recent.Back())
	}
}

// drop takes an entry out. The lock is held.
func (c *cache) drop(e *list.Element) {
	a := c.recent.Remove(e).(*answered)
	delete(c.byKey, a.question)
	c.size -= a.size
}
