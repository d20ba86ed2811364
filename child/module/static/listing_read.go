package static

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
)

// An item is an entry of a directory.
type item struct {
	name     string
	folder   bool
	looked   bool  // size and modified are known
	size     int64 // of a file, bytes
	modified int64 // seconds since 1970
}

// compare orders items totally: those that are alike otherwise by name.
func (o order) compare(a, b *item) int {
	if a.folder != b.folder {
		if a.folder {
			return -1
		}
		return 1
	}
	c := 0
	switch o.by {
	case byName:
		c = compareNames(a.name, b.name)
	case bySize:
		c = cmp.Compare(a.size, b.size)
	case byTime:
		c = cmp.Compare(a.modified, b.modified)
	}
	if o.down {
		c = -c
	}
	if c == 0 && o.by != byName {
		c = compareNames(a.name, b.name)
	}
	return c
}

func (o order) sort(items []item) {
	slices.SortFunc(items, func(a, b item) int { return o.compare(&a, &b) })
}

// compareNames orders names as people do: digits by the number that they make, ASCII letters without regard to case. It is 0 for equal
// names only.
func compareNames(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		c, d := a[i], b[j]
		if isDigit(c) && isDigit(d) {
			m, n := digits(a[i:]), digits(b[j:])
			x, y := strings.TrimLeft(a[i:i+m], "0"), strings.TrimLeft(b[j:j+n], "0")
			if by := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); by != 0 {
				return by
			}
			i, j = i+m, j+n
			continue
		}
		if by := cmp.Compare(lower(c), lower(d)); by != 0 {
			return by
		}
		i++
		j++
	}
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), cmp.Compare(a, b)) // one of them is at its end
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits returns how many of them s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// A selection keeps the first of many items, at most max, and twice that while it is being made.
type selection struct {
	order order
	max   int
	items []item
	cut   bool // some were left out: those from items[max-1] on need not be added
}

func (c *selection) add(it item) {
	if c.cut && c.order.compare(&it, &c.items[c.max-1]) > 0 {
		return
	}
	c.items = append(c.items, it)
	if len(c.items) >= 2*c.max {
		c.settle()
	}
}

// settle orders the items and leaves out those that are too many.
func (c *selection) settle() {
	c.order.sort(c.items)
	if len(c.items) > c.max {
		clear(c.items[c.max:])
		c.items = c.items[:c.max]
		c.cut = true
	}
}

// contents are what is shown of a directory.
type contents struct {
	path  string // of the request
	key   string
	order order
	items []item

	total  int   // how many could be shown
	more   bool  // there are more, which nobody has looked at
	chosen order // that items are the first of
}

func (c *contents) truncated() bool { return c.more || c.total > len(c.items) }

// which says which of them are shown, if not all.
func (c *contents) which() string {
	words := [...][2]string{byName: {"first", "last"}, bySize: {"smallest", "largest"}, byTime: {"oldest", "newest"}}
	if c.chosen.down {
		return words[c.chosen.by][1]
	}
	return words[c.chosen.by][0]
}

// A reading is one look at a directory on behalf of a request.
type reading struct {
	s   *server
	r   *web.Request
	key string

	root int // the root directory
	dir  int // the one that is read
	dev  uint64

	chosen selection
	looks  int
	total  int
	more   bool
	done   int // since the last pause
}

// errLooks: there are too many files to look at each.
var errLooks = errors.New("static: too many files to look at")

// errCrowded: too many requests wait to read a directory.
var errCrowded = errors.New("static: too many directories are being read")

// sheetOf reads the directory called key and writes it down.
func (s *server) sheetOf(r *web.Request, key string, v view) ([]byte, error) {
	if err := s.listing.enter(r.Context()); err != nil {
		return nil, err
	}
	defer s.listing.leave()
	c, err := s.read(r, key, v.order)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		s.cache.shed()
		c, err = s.read(r, key, v.order)
	}
	switch {
	case err != nil:
		return nil, err
	case v.json:
		return c.encodeJSON()
	}
	return s.listing.appendHTML(make([]byte, 0, 8<<10+192*len(c.items)), c), nil
}

// read finds what is shown of the directory called key. Where there are more files than may be looked at, those shown are the first by
// name, whatever the order.
func (s *server) read(r *web.Request, key string, o order) (*contents, error) {
	top, err := s.root.acquire(s.now())
	if err != nil {
		return nil, err
	}
	defer top.Release()
	dir, err := s.root.openDirectory(top.fd, key)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return nil, err
	}

	g := &reading{s: s, r: r, key: key, root: top.fd, dir: dir, dev: st.Dev, chosen: selection{order: o, max: s.listing.maxEntries}}
	err = g.scan()
	if err == errLooks {
		if _, err := unix.Seek(dir, 0, unix.SEEK_SET); err != nil {
			return nil, err
		}
		g.chosen, g.looks, g.total = selection{max: s.listing.maxEntries}, 0, 0
		err = g.scan()
	}
	if err == nil {
		err = g.complete(o)
	}
	if err != nil {
		return nil, err
	}
	return &contents{path: r.Path, key: key, order: o, items: g.chosen.items, total: g.total, more: g.more,
		chosen: g.chosen.order}, nil
}

// scan goes through the names in the directory, in the order in which the file system has them.
func (g *reading) scan() error {
	buf := make([]byte, 64<<10)
	for names := 0; ; {
		n, err := retry(func() (int, error) { return unix.Getdents(g.dir, buf) })
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; names++ {
			if names == g.s.listing.names {
				g.more = true
				g.chosen.settle()
				return nil
			}
			var d dirent
			d, rest = nextDirent(rest)
			if err := g.pause(1); err != nil {
				return err
			}
			if err := g.take(d); err != nil {
				return err
			}
		}
	}
	g.chosen.settle()
	return nil
}

// pause counts what was done, and once in a while gives way to others, the loop among them, and looks whether anybody still waits.
func (g *reading) pause(done int) error {
	const burst = 256
	if g.done += done; g.done < burst {
		return nil
	}
	g.done = 0
	if g.r.Context().Err() != nil {
		return errLeft
	}
	breathe()
	return nil
}

// A dirent is what getdents64(2) tells of a name.
type dirent struct {
	ino  uint64
	kind byte // DT_REG and its like
	name []byte
}

// nextDirent takes the first off those that getdents64 has left in b.
func nextDirent(b []byte) (d dirent, rest []byte) {
	const header = 19 // d_ino 8, d_off 8, d_reclen 2, d_type 1; then the name, its NUL, and padding
	length := int(binary.NativeEndian.Uint16(b[16:]))
	d.ino, d.kind, d.name = binary.NativeEndian.Uint64(b), b[18], b[header:length]
	if end := bytes.IndexByte(d.name, 0); end >= 0 {
		d.name = d.name[:end]
	}
	return d, b[length:]
}

// take adds a name to those chosen from, if it is one to be shown.
func (g *reading) take(d dirent) error {
	if !servable(d.name, g.s.hidden, false) {
		return nil
	}
	it := item{name: string(d.name)}
	look := g.chosen.order.by != byName
	switch d.kind {
	case unix.DT_DIR:
		it.folder = true
	case unix.DT_REG:
		if g.s.claims.Claimed(g.dev, d.ino) {
			return nil
		}
		look = look || g.s.claims != nil && slices.ContainsFunc(companions, func(end string) bool { return strings.HasSuffix(it.name, end) })
	case unix.DT_LNK, unix.DT_UNKNOWN:
		look = true
	default:
		return nil
	}
	if look {
		if g.looks == g.s.listing.looks {
			if g.chosen.order.by != byName {
				return errLooks
			}
			g.more = true // this one, unless it leads nowhere
			return nil
		}
		g.looks++
		if ok, err := g.look(&it); !ok {
			return err
		}
	}
	if !g.permitted(&it) {
		return nil
	}
	g.total++
	g.chosen.add(it)
	return nil
}

// look finds out what an item is. false: nothing to be shown, or an error that is not the item's.
func (g *reading) look(it *item) (bool, error) {
	if err := g.pause(16); err != nil {
		return false, err
	}
	var st unix.Stat_t
	name := g.key + it.name
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(g.dir, it.name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	})
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		if err = g.s.root.stat(g.root, name, &st); err == errDirectory {
			err = nil
		}
	}
	switch err {
	case nil:
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return false, err
	default:
		return false, nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		it.folder, it.size = false, st.Size
		if g.s.unclaimed(g.root, name, &st) != nil {
			return false, nil
		}
	case unix.S_IFDIR:
		it.folder, it.size = true, 0
	default:
		return false, nil
	}
	it.looked, it.modified = true, int64(st.Mtim.Sec)
	return true, nil
}

// permitted reports whether the request could get an item, as far as its name decides that.
func (g *reading) permitted(it *item) bool {
	length := len(g.key) + len(it.name)
	if it.folder {
		length++
	}
	if length > maxName {
		return false
	}
	if len(g.s.rules) == 0 {
		return true
	}
	name := g.key + it.name
	if it.folder {
		name += "/"
	}
	return g.s.permits(g.r, http.MethodGet, name)
}

// complete looks at those of the chosen items that were not looked at yet, leaves out what is gone, and orders the rest.
func (g *reading) complete(o order) error {
	kept := g.chosen.items[:0]
	for _, it := range g.chosen.items {
		if !it.looked {
			was := it.folder
			shown, err := g.look(&it)
			if err != nil {
				return err
			}
			if !shown || was != it.folder && !g.permitted(&it) {
				g.total--
				continue
			}
		}
		kept = append(kept, it)
	}
	g.chosen.items = kept
	o.sort(kept)
	return nil
}
