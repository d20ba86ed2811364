package static

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// pathWord stands in try for the path of the request.
const pathWord = "{path}"

// candidates are the names that are looked for when key is requested, in order. One that ends in a slash, or is empty, is a directory whose
// index is meant.
func (s *server) candidates(key string) []string {
	if len(s.try) == 0 {
		return []string{key}
	}
	directory := isDirectory(key)
	list := make([]string, 0, len(s.try))
	for _, template := range s.try {
		suffix, ofPath := strings.CutPrefix(template, pathWord)
		switch {
		case !ofPath:
			list = append(list, strings.TrimPrefix(template, "/"))
		case suffix == "" || directory && suffix == "/":
			list = append(list, key)
		case !directory:
			list = append(list, key+suffix)
		}
	}
	return list
}

// resolve finds the file that is served for key. sights are the names before it that were not there. errDirectory: key is a directory, and
// has to be asked for with a slash; errListed: it is one without an index, and its content is to be listed.
func (s *server) resolve(dir int, key string, candidates []string, st *unix.Stat_t) (name string, sights []sight, err error) {
	for _, candidate := range candidates {
		if !isDirectory(candidate) {
			err := s.root.stat(dir, candidate, st)
			switch {
			case err == nil, !absent(err) && err != errDirectory:
				return candidate, sights, err
			case err == errDirectory && len(s.try) == 0:
				return "", nil, err
			}
			sights = append(sights, see(candidate, err, st))
			continue
		}
		for _, index := range s.index {
			name := candidate + index
			err := s.root.stat(dir, name, st)
			switch {
			case err == nil && candidate == key+"/":
				return "", nil, errDirectory // what it links to is relative to the path with the slash
			case err == nil, !absent(err) && err != errDirectory:
				return name, sights, err
			}
			sights = append(sights, see(name, err, st))
		}
		if s.listing != nil && strings.TrimSuffix(candidate, "/") == strings.TrimSuffix(key, "/") {
			if err := s.root.stat(dir, directoryName(candidate), st); err != errDirectory {
				sights = append(sights, see(directoryName(candidate), err, st))
				continue
			}
			if candidate == key {
				return "", nil, errListed
			}
			return "", nil, errDirectory
		}
	}
	return "", nil, unix.ENOENT
}

// directoryName is what system calls know the directory of a key by.
func directoryName(key string) string {
	if key == "" {
		return "."
	}
	return key
}

// absent reports whether an error says that there is nothing under a name that could be served.
func absent(err error) bool {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ENAMETOOLONG, unix.ESTALE, unix.EINVAL, unix.EILSEQ:
		return true
	}
	return false
}

// find looks at the file system, and puts the entry that is right for key into the cache. The caller is a user of its descriptor.
func (s *server) find(key string) (*entry, error) {
	now, wall := s.now(), s.wall()
	dir, err := s.root.acquire(now)
	if err != nil {
		return nil, err
	}
	defer dir.Release()

	p, candidates := s.pages.byKey[key], []string(nil)
	if p != nil {
		candidates = []string{p.option.file}
	} else {
		candidates = s.candidates(key)
	}
	var st unix.Stat_t
	name, sights, err := s.resolve(dir.fd, key, candidates, &st)
	if err != nil {
		return nil, err
	}
	if err := s.unclaimed(dir.fd, name, &st); err != nil {
		return nil, err
	}
	old, _ := s.cache.peek(key, now)
	if old != nil && s.same(dir.fd, old, name, &st) && old.acquire() {
		s.cache.renew(old, now)
		s.wake()
		return old, nil
	}
	src := &source{wall: wall.UnixNano(), claims: s.claims, young: s.young}
	if src.fd, err = s.root.open(dir.fd, name, &src.st); err != nil {
		return nil, err
	}
	if err := s.unclaimed(dir.fd, name, &src.st); err != nil {
		src.close()
		return nil, err
	}
	e, err := s.describe(dir.fd, key, name, p, sights, src)
	if err != nil {
		return nil, err
	}
	e.inherit(old)
	e.checked = now
	s.cache.put(e)
	s.wake()
	return e, nil
}

// look is what the file called name is now, and whether it is one at all: nothing is remembered. The caller is a user of its descriptor.
func (s *server) look(name string) (*entry, error) {
	dir, err := s.root.acquire(s.now())
	if err != nil {
		return nil, err
	}
	defer dir.Release()
	src := &source{wall: s.wall().UnixNano(), claims: s.claims, young: s.young}
	if src.fd, err = s.root.open(dir.fd, name, &src.st); err != nil {
		return nil, err
	}
	return s.describe(dir.fd, name, name, nil, nil, src)
}

// describe makes the entry of an open file, whose name was found for key. It spends src.
func (s *server) describe(dir int, key, name string, p *page, sights []sight, src *source) (*entry, error) {
	e := &entry{key: key, name: name, id: identify(&src.st), racy: src.racy(), sights: sights, status: 200, contentType: s.types.of(name)}
	content, body, file, err := src.read()
	if err != nil {
		return nil, err
	}
	e.id, e.racy = identify(&src.st), src.racy() // it may have grown meanwhile
	if p != nil {
		e.status = p.option.status
		e.fields = s.commonFields(name, p.fields...)
	} else {
		e.fields = s.commonFields(name)
	}
	if e.status == 200 {
		s.offer(dir, e, content.Size, src.wall)
	}
	e.plain = *newForm(e.status, 0, content, body, file, e.contentType, e.fields)
	return e, nil
}

// same reports whether an entry still is what a look would make, of which name and st are known.
func (s *server) same(dir int, e *entry, name string, st *unix.Stat_t) bool {
	if e.racy || e.name != name || e.id != identify(st) {
		return false
	}
	for i := range e.sights {
		if e.sights[i].name == name {
			return false
		}
		var now unix.Stat_t
		if err := s.root.stat(dir, e.sights[i].name, &now); see(e.sights[i].name, err, &now) != e.sights[i] {
			return false
		}
	}
	return true
}

// unchanged looks whether an entry still is what a look would make. sure is false where nothing can be looked at for want of descriptors or
// memory.
func (s *server) unchanged(dir int, e *entry) (same, sure bool) {
	if e.racy {
		return false, true
	}
	var st unix.Stat_t
	switch err := s.root.stat(dir, e.name, &st); err {
	case nil:
		return s.unclaimed(dir, e.name, &st) == nil && s.same(dir, e, e.name, &st), true
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return false, false
	}
	return false, true
}

var (
	// errLeft: the client has gone while another worker was looking for its file.
	errLeft = errors.New("static: the request has been given up")
	// errClaimed: the file belongs to another module of this process.
	errClaimed = errors.New("static: the file belongs to another module")
	// errListed: a directory has no index file, and may be listed.
	errListed = errors.New("static: a directory without an index")
	// errChanged: a file is not what was told of it any more.
	errChanged = errors.New("static: the file has changed while it was sent")
)

// companions are the ends of names of files that belong to a database (https://sqlite.org/tempfiles.html).
var companions = []string{"-wal", "-shm", "-journal"}

// unclaimed reports errClaimed for a file that another module keeps to itself, and for the files beside it that belong to it.
func (s *server) unclaimed(dir int, name string, st *unix.Stat_t) error {
	if s.claims == nil {
		return nil
	}
	if s.claims.Claimed(st.Dev, st.Ino) {
		return errClaimed
	}
	for _, suffix := range companions {
		if of, ok := strings.CutSuffix(name, suffix); ok && !isDirectory(of) {
			var other unix.Stat_t
			if s.root.stat(dir, of, &other) == nil && s.claims.Claimed(other.Dev, other.Ino) {
				return errClaimed
			}
		}
	}
	return nil
}
