package lite

import lib "modernc.org/sqlite/lib"

// maxKept is how many statements a connection keeps compiled: some kilobytes each.
const maxKept = 128

// A cache keeps compiled statements, and drops the one that has not been used for longest.
type cache struct {
	by             map[statementKey]*statement
	oldest, newest *statement
}

func (k *cache) find(key statementKey) *statement {
	s := k.by[key]
	if s != nil && s != k.newest {
		k.unlink(s)
		k.link(s)
	}
	return s
}

// add keeps s, unless another of its key is running.
func (k *cache) add(c *Conn, s *statement) {
	if k.by == nil {
		k.by = map[statementKey]*statement{}
	}
	if k.by[s.key] != nil {
		return
	}
	for old := k.oldest; old != nil && len(k.by) >= maxKept; {
		next := old.newer
		if !old.running {
			k.remove(c, old)
		}
		old = next
	}
	s.kept = true
	k.by[s.key] = s
	k.link(s)
}

func (k *cache) remove(c *Conn, s *statement) {
	k.unlink(s)
	delete(k.by, s.key)
	lib.Xsqlite3_finalize(c.tls, s.stmt)
}

// drop forgets all; none is running.
func (k *cache) drop(c *Conn) {
	for k.oldest != nil {
		k.remove(c, k.oldest)
	}
}

func (k *cache) link(s *statement) {
	s.older, s.newer = k.newest, nil
	if k.newest != nil {
		k.newest.newer = s
	} else {
		k.oldest = s
	}
	k.newest = s
}

func (k *cache) unlink(s *statement) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		k.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		k.newest = s.older
	}
	s.older, s.newer = nil, nil
}
