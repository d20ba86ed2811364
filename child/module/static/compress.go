package static

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// compressOptions are compress { }.
type compressOptions struct {
	codings           []coding.Coding
	minBytes, maxFile int64
	types             map[string]bool
	levels            coding.Levels
	cache             int64
	directory         string
}

// packWindow is the binary logarithm of the encoders' window, in bytes. A file is packed once, so more memory is well spent.
const packWindow = 20

const (
	// packPiece is how much is packed before others have their turn, in bytes: up to a millisecond at the standard levels.
	packPiece = 16 << 10
	// packRest is how long an entry whose content could not be packed or kept is sent as it is, before that is tried again (ns).
	packRest = int64(10 * time.Second)
	// complainEvery is how often a route logs that (ns).
	complainEvery = int64(time.Minute)
)

func compressSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "compress", Doc: "compresses files, each version once",
		Attributes: []configs.Attribute{
			{Name: "codings", Type: configs.Strings, Default: []string{"zstd", "br", "gzip"}, Doc: "those offered, the favourite first"},
			{Name: "min_bytes", Type: configs.Size, Default: "1KiB", Min: int64(1), Doc: "shorter files are sent as they are"},
			{Name: "max_file", Type: configs.Size, Default: "8MiB", Min: int64(1), Max: "256MiB", Doc: "longer files are sent as they are"},
			{Name: "types", Type: configs.Strings, Default: []string{}, Example: `["application/x-thing"]`, Doc: "media types beside the built-in ones"},
			{Name: "gzip_level", Type: configs.Int, Default: 6, Min: 1, Max: 9, Doc: "1: fastest, 9: smallest"},
			{Name: "br_level", Type: configs.Int, Default: 5, Min: 1, Max: 11, Doc: "1: fastest, 11: smallest, and slow"},
			{Name: "zstd_level", Type: configs.Int, Default: 3, Min: 1, Max: 4, Doc: "1: fastest, 4: smallest"},
			{Name: "cache", Type: configs.Size, Default: "64MiB", Min: "1MiB", Doc: "memory of a child, or space in directory, for what was compressed"},
			{Name: "directory", Type: configs.Path, Doc: "keep what was compressed there, for all children and over restarts, in place of memory"},
		},
		Check: func(b *configs.Block) (problems []configs.Problem) {
			if len(b.Strings("codings")) == 0 {
				problems = append(problems, configs.Problem{At: "codings", Message: "no coding is offered", Cure: "remove the block to compress nothing"})
			}
			if b.Size("min_bytes") > b.Size("max_file") {
				problems = append(problems, configs.Problem{At: "min_bytes", Message: "min_bytes is more than max_file: nothing would be compressed", Cure: "lower it"})
			}
			problems = append(problems, coding.CheckCodings("codings", b.Strings("codings"))...)
			return append(problems, coding.CheckTypes("types", b.Strings("types"))...)
		},
	}
}

func compressOptionsOf(b *configs.Block) *compressOptions {
	return &compressOptions{
		codings: coding.List(b.Strings("codings")), minBytes: b.Size("min_bytes"), maxFile: b.Size("max_file"), types: coding.Types(b.Strings("types")),
		levels: coding.Levels{Gzip: b.Int("gzip_level"), Brotli: b.Int("br_level"), Zstd: b.Int("zstd_level")},
		cache:  b.Size("cache"), directory: b.Path("directory"),
	}
}

// A packer compresses files, and keeps what came of it.
type packer struct {
	compressOptions
	encoders *coding.Encoders
	store    *store
	turn     sync.Mutex // held by who packs: one at a time, for an encoder of the highest levels holds some 40 MiB
}

func newPacker(o *compressOptions) (*packer, error) {
	kept, err := newStore(storeOptions{limit: o.cache, directory: o.directory})
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return &packer{
		compressOptions: *o, store: kept,
		encoders: coding.NewEncoders(coding.EncoderOptions{Levels: o.levels, Window: packWindow, Exact: true}),
	}, nil
}

// offer finds out in which codings e can be had: from its precompressed siblings, which are sights of it, or by being packed.
func (s *server) offer(dir int, e *entry, size, wall int64) {
	for _, c := range s.siblings {
		var st unix.Stat_t
		name := e.name + c.Extension()
		if err := s.root.stat(dir, name, &st); err != nil {
			e.sights = append(e.sights, see(name, err, &st))
			continue
		}
		id := identify(&st)
		e.racy = e.racy || (&source{st: st, wall: wall}).racy()
		e.sights = append(e.sights, see(name, nil, &st))
		if id.mtime >= e.id.mtime && s.unclaimed(dir, name, &st) == nil { // one that is older is of an older version
			e.offered = append(e.offered, c)
		}
	}
	if p := s.packer; p != nil && size >= p.minBytes && size <= p.maxFile && coding.Worth(coding.MediaType(e.contentType), p.types) {
		var h web.Header
		for _, f := range e.fields {
			h.Add(f.Name, f.Value)
		}
		if !h.HasToken("Cache-Control", "no-transform") {
			for _, c := range p.codings {
				if !slices.Contains(e.offered, c) {
					e.offered = append(e.offered, c)
				}
			}
		}
	}
	if len(e.offered) > 0 || len(s.siblings) > 0 { // what has no sibling now may have one later
		e.fields = addToken(e.fields, "Vary", "Accept-Encoding")
	}
}

// choose returns the form that suits r; nil: it has yet to be made, by encode.
func (e *entry) choose(r *web.Request, now int64) *form {
	if len(e.offered) == 0 {
		return &e.plain
	}
	best, _ := coding.Read(&r.Header).Best(e.offered)
	if best == coding.Identity || r.Header.Has("Range") { // ranges are of the content as it is
		return &e.plain
	}
	f := e.coded[best].Load()
	if f == nil && now < e.packAfter.Load() {
		return &e.plain
	}
	return f
}

// encode makes the form of e that suits r. If that does not work, or another worker is at it, it is e as it is. The caller is a user of the
// form's file, unless it is e's own.
func (s *server) encode(r *web.Request, e *entry) *form {
	best, _ := coding.Read(&r.Header).Best(e.offered)
	key := e.key + "\x00" + best.String()
	flight, leader := s.flights.join(key)
	if !leader {
		return &e.plain
	}
	defer s.flights.land(key, flight)
	if made := e.coded[best].Load(); made != nil { // by a flight that has landed since
		if made.file != nil && made != &e.plain && !made.file.acquire() {
			return &e.plain
		}
		return made
	}
	made, err := s.openSibling(e, best)
	if err == errNoSibling {
		made, err = s.pack(e, best)
	}
	switch {
	case err == errNotWorth:
		e.coded[best].CompareAndSwap(nil, &e.plain)
		return &e.plain
	case err == errChanged:
		s.cache.forget(e)
		return &e.plain
	case err == errBusy, errors.Is(err, errStoreBusy): // another time
		return &e.plain
	case err != nil:
		e.packAfter.Store(s.now() + packRest)
		if s.log != nil && !errors.Is(err, errStoreFull) && s.complains() {
			s.log(module.Warn, "a file is sent uncompressed", module.Field{Key: "file", Value: e.name}, module.Field{Key: "coding", Value: best.String()},
				module.Field{Key: "error", Value: err.Error()})
		}
		return &e.plain
	}
	if made.file != nil {
		made.file.acquire() // the caller's
	}
	if !s.cache.addForm(e, made) && made.file != nil {
		made.file.Release()
	}
	return made
}

var (
	errNoSibling = errors.New("static: there is no precompressed file")
	errNotWorth  = errors.New("static: it does not get shorter")
	errBusy      = errors.New("static: too many files are being compressed")
)

// complains reports whether it may be logged now that something is sent uncompressed.
func (s *server) complains() bool {
	now, last := s.now(), s.complained.Load()
	return (last == 0 || now-last >= complainEvery) && s.complained.CompareAndSwap(last, now)
}

// openSibling makes a form of the precompressed sibling that was seen beside e. The caller is the user of its file.
func (s *server) openSibling(e *entry, c coding.Coding) (*form, error) {
	name := e.name + c.Extension()
	i := slices.IndexFunc(e.sights, func(seen sight) bool { return seen.err == nil && seen.name == name })
	if i < 0 || !slices.Contains(s.siblings, c) || e.sights[i].id.mtime < e.id.mtime {
		return nil, errNoSibling
	}
	dir, err := s.root.acquire(s.now())
	if err != nil {
		return nil, err
	}
	defer dir.Release()
	src := &source{wall: s.wall().UnixNano(), claims: s.claims, young: s.young}
	if src.fd, err = s.root.open(dir.fd, name, &src.st); err != nil {
		if absent(err) || err == errDirectory || err == errSpecial {
			return nil, errChanged
		}
		return nil, err
	}
	if identify(&src.st) != e.sights[i].id || s.unclaimed(dir.fd, name, &src.st) != nil {
		src.close()
		return nil, errChanged
	}
	content, body, file, err := src.read()
	if err != nil {
		return nil, err
	}
	return newForm(e.status, c, content, body, file, e.contentType, e.fields), nil
}

// pack makes a form of e by compressing it. The caller is the user of its file.
func (s *server) pack(e *entry, c coding.Coding) (*form, error) {
	p := s.packer
	id := e.plain.content.ETag + strconv.FormatUint(e.id.dev, 16) + c.String() + fmt.Sprint(p.levels)
	content := e.plain.content
	content.ETag = c.Tag(content.ETag)
	if e.racy && e.plain.file != nil && e.plain.file.watched {
		return nil, errNotWorth // it is being written; once it rests it is another entry
	}
	if file, size := p.store.get(id); file != nil {
		content.Size = size
		made := newForm(e.status, c, content, nil, file, e.contentType, e.fields)
		made.kept = id
		return made, nil
	}
	if !p.turn.TryLock() {
		return nil, errBusy
	}
	defer p.turn.Unlock()
	var whole []byte
	if e.plain.full != nil {
		whole = e.plain.full.Body
	} else {
		whole = make([]byte, e.plain.content.Size)
		if _, err := e.plain.file.ReadAt(whole, 0); err != nil {
			return nil, errChanged // shorter, or another one
		}
	}
	packed := p.encoders.PackPieces(c, whole, packPiece, breathe)
	if len(packed) >= len(whole)-len(whole)/32 {
		return nil, errNotWorth
	}
	content.Size = int64(len(packed))
	if len(packed) <= smallFile {
		return newForm(e.status, c, content, packed, nil, e.contentType, e.fields), nil
	}
	file, err := p.store.put(id, packed)
	if errors.Is(err, errStoreFull) {
		s.cache.shedCoded(content.Size, s.now()) // what was not used for long makes room
		file, err = p.store.put(id, packed)
	}
	if err != nil {
		return nil, err
	}
	made := newForm(e.status, c, content, nil, file, e.contentType, e.fields)
	made.kept = id
	return made, nil
}

// inherit takes over what was made of the same content: of a file that was written again as it was, or is looked at anew because its last
// change is young. Only what is in memory.
func (e *entry) inherit(old *entry) {
	if old == nil || old.name != e.name || old.plain.content.ETag != e.plain.content.ETag ||
		e.plain.file != nil && e.plain.file.watched {
		return
	}
	for _, c := range e.offered {
		switch f := old.coded[c].Load(); {
		case f == nil, old.sibling(c), e.sibling(c):
		case f == &old.plain:
			e.coded[c].Store(&e.plain)
		case f.file == nil:
			e.coded[c].Store(f)
			e.packed.Add(f.cost())
		}
	}
}

// sibling reports whether there was a precompressed sibling when e was made.
func (e *entry) sibling(c coding.Coding) bool {
	return slices.ContainsFunc(e.sights, func(seen sight) bool { return seen.err == nil && seen.name == e.name+c.Extension() })
}

// keep tells the store that what it has of e is in use, at the time now. It does so once in touchEvery only: what is coded meanwhile is new
// to the store, or was touched when it was found there.
func (p *packer) keep(e *entry, now int64) {
	if now < e.keepAfter.Load() {
		return
	}
	e.keepAfter.Store(now + int64(touchEvery))
	for i := range e.coded {
		if f := e.coded[i].Load(); f != nil && f.kept != "" {
			p.store.touch(f.kept)
		}
	}
}
