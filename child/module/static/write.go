package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// How a PUT becomes a file:
//
//  1. putFile refuses what can be refused by the head of the request and the state of the target: nobody is asked for a body in vain.
//  2. receive writes the body into a file without a name in the target's directory. It holds no lock, however slow the client is.
//  3. commit finds the directory again, takes its lock, looks at the conditions once more, now that nobody else changes anything there, and
//     gives the file its name: readers see the old or the new one, whole.
//  4. forgetName makes this child forget what it knew.

const (
	// lockName is the file that is locked where a directory cannot be.
	lockName = temporary + "lock"
	// lockPatience is how long a change waits for others in its directory, each of which holds the lock for a few system calls.
	lockPatience = 5 * time.Second
	// pieceSize is how much of a body is read and written at once, in bytes: a server's window.
	pieceSize = 64 << 10
	// flushEvery is how many bytes are written before the disk is asked to begin with them, so that the fsync at the end has little to wait for.
	flushEvery = 8 << 20
	// commits is how often a name is given when its directory, which create_directories has made, is removed meanwhile.
	commits = 3
)

// writeOptions are write { }.
type writeOptions struct {
	maxBytes          int64
	fsync             bool
	createDirectories bool
	uploads           int
	delete            bool
	mode              uint32
}

func writeSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "write", Doc: "lets PUT and DELETE change files, for those whom an access block allows it",
		Attributes: []configs.Attribute{
			{Name: "max_bytes", Type: configs.Size, Default: "100MiB", Min: int64(1),
				Doc: "largest file that PUT may bring; larger: 413. It is the route's limits.body, unless that is set"},
			{Name: "fsync", Type: configs.Bool, Default: true, Doc: "answer when the file and its name are on the disk"},
			{Name: "create_directories", Type: configs.Bool, Default: false, Doc: "make the directories that a PUT needs; without it they must exist: 409"},
			{Name: "uploads", Type: configs.Int, Default: 16, Min: 1, Max: 100000,
				Doc: "bodies that each child receives at a time, each on a worker; more are told to come again: 503"},
			{Name: "delete", Type: configs.Bool, Default: true, Doc: "answer DELETE too"},
			{Name: "mode", Type: configs.String, Default: "0644", Check: checkMode,
				Doc: "permissions of the files, octal; directories that are made may be searched by who may read the files"},
		},
	}
}

func checkMode(v any) error {
	mode, err := parseMode(v.(string))
	switch {
	case err != nil:
		return configs.Problem{Message: fmt.Sprintf("%q are no permissions", v), Cure: `write them octal, from "0400" to "0777", for example "0640"`}
	case mode&0o400 == 0:
		return configs.Problem{Message: fmt.Sprintf("with %q the server cannot read the files itself", v), Cure: `let the owner read: for example "0640"`}
	}
	return nil
}

// parseMode reads permissions as chmod(1) does, without set-user-ID, set-group-ID and sticky bit.
func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err == nil && (len(s) < 3 || len(s) > 4 || n > 0o777) {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// writeOptionsOf reads a block that has been checked.
func writeOptionsOf(b *configs.Block) *writeOptions {
	mode, _ := parseMode(b.String("mode"))
	return &writeOptions{
		maxBytes: b.Size("max_bytes"), fsync: b.Bool("fsync"), createDirectories: b.Bool("create_directories"), uploads: b.Int("uploads"), delete: b.Bool("delete"), mode: mode,
	}
}

// A writer is what all changes of a server share. Its methods may be called by any goroutine.
type writer struct {
	options writeOptions
	// turns let one goroutine of this process at a time ask for the lock of a directory, by its inode: the others wait in line, without
	// asking again and again.
	turns    [64]chan struct{}
	patience time.Duration
	pieces   sync.Pool // of *[pieceSize]byte

	uploads atomic.Int32 // under way

	tmpfile bool                    // a file without a name can be given one: /proc is there
	flock   func(fd, how int) error // flock(2)
}

func newWriter(o *writeOptions) *writer {
	w := &writer{options: *o, patience: lockPatience, flock: unix.Flock}
	for i := range w.turns {
		w.turns[i] = make(chan struct{}, 1)
	}
	w.pieces.New = func() any { return new([pieceSize]byte) }
	w.tmpfile = unix.Access("/proc/self/fd", unix.X_OK) == nil
	return w
}

// allow is the Allow field of a name that may be a file.
func (w *writer) allow() string {
	if w.options.delete {
		return "GET, HEAD, PUT, DELETE, OPTIONS"
	}
	return "GET, HEAD, PUT, OPTIONS"
}

// maxBytes is the largest body.
func (w *writer) maxBytes() int64 { return w.options.maxBytes }

// takes reports whether a method changes files here.
func (w *writer) takes(method string) bool {
	return method == http.MethodPut || method == http.MethodDelete && w.options.delete
}

// change answers a PUT or DELETE of key, which the rules have let through.
func (s *server) change(w *web.Response, r *web.Request, key string) {
	var done receipt
	var err error
	switch {
	case isDirectory(key):
		// No state of the directory would make it possible, so it is no conflict (RFC 9110, 15.5.6).
		err = denied{405, []web.Field{{Name: "Allow", Value: "GET, HEAD, OPTIONS"}}}
	case r.Method == http.MethodDelete:
		err = s.deleteFile(r, key)
	default:
		done, err = s.putFile(r, key)
	}
	if err != nil {
		s.refuseChange(w, r, err)
		return
	}
	w.SetStatus(204)
	if done.created {
		w.SetStatus(201)
	}
	if done.etag != "" {
		w.Header().Set("ETag", done.etag)
	}
	if done.lastModified != "" {
		w.Header().Set("Last-Modified", done.lastModified)
	}
}

// receipt is what PUT tells of the new file: validators that it has from now on, or none (RFC 9110, 9.3.4).
type receipt struct {
	created            bool // nothing was served under the name before
	etag, lastModified string
}

// denied is an error with the answer that it gets.
type denied struct {
	status int
	fields []web.Field
}

func (d denied) Error() string { return "refused with " + strconv.Itoa(d.status) }

var (
	// errNoParent: the directory that a file shall be in is not there.
	errNoParent = errors.New("static: the directory of the file is not there")
	// errLocked: others change the directory all the time, or one of them does not come to its end.
	errLocked = errors.New("static: the directory is locked for too long")
	// errMoved: the directory became one of another file system while a body was received.
	errMoved = errors.New("static: the directory has moved")
	// errBody: the body did not come whole.
	errBody = errors.New("static: the body did not come whole")
)

// refuseChange answers for a change that was not done. What the operator has to know of is logged.
func (s *server) refuseChange(w *web.Response, r *web.Request, err error) {
	var d denied
	errors.As(err, &d)
	status := changeStatus(err)
	var errno unix.Errno
	ofSystem := errors.As(err, &errno)
	switch {
	case status == 500:
		s.logChange(r, module.Error, "a file cannot be changed", err)
	case status == 507:
		s.logChange(r, module.Warn, "no space is left for a file", err)
	case status == 403 && ofSystem:
		s.logChange(r, module.Warn, "the server may not change a file", err)
	}
	s.refuse(w, r, status, d.fields...)
}

func (s *server) logChange(r *web.Request, level module.Level, message string, err error) {
	if s.log != nil {
		s.log(level, message, module.Field{Key: "method", Value: r.Method}, module.Field{Key: "path", Value: r.Path},
			module.Field{Key: "error", Value: err.Error()})
	}
}

// changeStatus maps the error of a change to a status.
func changeStatus(err error) int {
	var d denied
	var errno unix.Errno
	switch {
	case errors.As(err, &d):
		return d.status
	case errors.Is(err, web.ErrBodyTooLarge):
		return 413
	case errors.Is(err, errBody):
		return 400
	case errors.Is(err, errDirectory), errors.Is(err, errNoParent):
		return 409
	case errors.Is(err, errSpecial), errors.Is(err, errClaimed):
		return 403
	case errors.Is(err, errLeft), errors.Is(err, errLocked), errors.Is(err, errMoved):
		return 503
	case errors.As(err, &errno):
		switch errno {
		case unix.ENOSPC, unix.EDQUOT:
			return 507 // RFC 4918, 11.5
		case unix.EFBIG:
			return 413
		case unix.EACCES, unix.EPERM, unix.EROFS:
			return 403
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN:
			return 503
		case unix.EISDIR, unix.ENOTEMPTY, unix.EBUSY: // became a directory, is mounted
			return 409
		case unix.ENOENT:
			return 404
		}
	}
	return 500
}

// putFile does a PUT.
func (s *server) putFile(r *web.Request, key string) (receipt, error) {
	if err := s.acceptable(r, key); err != nil {
		return receipt{}, err
	}
	underWay := s.writer.uploads.Add(1)
	defer s.writer.uploads.Add(-1)
	if underWay > int32(s.writer.options.uploads) { // those who read need workers too
		return receipt{}, denied{status: 503}
	}
	u, err := s.prepare(r, key)
	if err == unix.EMFILE || err == unix.ENFILE {
		s.cache.shed()
		u, err = s.prepare(r, key)
	}
	if err != nil {
		return receipt{}, err
	}
	defer u.close(s.claims)
	if err := s.writer.receive(u, r); err != nil {
		return receipt{}, err
	}
	for i := 1; ; i++ {
		done, err := s.commit(r, key, u)
		if err == unix.ENOENT && s.writer.options.createDirectories && i < commits {
			continue
		}
		if err == unix.ENOENT {
			err = errNoParent
		}
		return done, err
	}
}

// acceptable looks at the head of a PUT.
func (s *server) acceptable(r *web.Request, key string) error {
	h := &r.Header
	switch {
	case h.Has("Content-Range"): // it would replace the whole by a part (RFC 9110, 14.5)
		return denied{status: 400}
	case encoded(h): // it would be served without its coding (15.5.16)
		return denied{415, []web.Field{{Name: "Accept-Encoding", Value: coding.Identity.String()}}}
	case r.Body.Length() > s.writer.options.maxBytes:
		return web.ErrBodyTooLarge
	}
	return nil
}

// encoded reports whether the content has a coding (RFC 9110, 8.4).
func encoded(h *web.Header) bool {
	for _, line := range h.Values("Content-Encoding") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.EqualFold(name, coding.Identity.String()) {
				return true
			}
		}
	}
	return false
}

// prepare looks whether the file could be stored, and begins it.
func (s *server) prepare(r *web.Request, key string) (*upload, error) {
	p, err := s.place(key)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.writable(); err != nil {
		return nil, err
	}
	if _, err := s.judge(r, p); err != nil {
		return nil, err
	}
	if err := p.holds(r.Body.Length()); err != nil {
		return nil, err
	}
	return s.writer.begin(p)
}

// commit gives an upload its name, if the conditions of its request still hold.
func (s *server) commit(r *web.Request, key string, u *upload) (done receipt, err error) {
	p, err := s.place(key)
	if err != nil {
		return receipt{}, err
	}
	defer p.close()
	defer func() {
		if err != nil {
			s.unmake(p)
		}
	}()
	if err := s.make(p); err != nil {
		return receipt{}, err
	}
	if done, err = s.replace(r, p, u); err != nil {
		return receipt{}, err
	}
	p.made = nil
	return done, s.keep(r, p)
}

// replace does what commit needs the lock for.
func (s *server) replace(r *web.Request, p *place, u *upload) (receipt, error) {
	unlock, err := s.writer.lock(r.Context(), p.fd)
	if err != nil {
		return receipt{}, err
	}
	defer unlock()
	was, err := s.judge(r, p)
	if err != nil {
		return receipt{}, err
	}
	if r.Context().Err() != nil { // nobody would learn of it
		return receipt{}, errLeft
	}
	if err := u.publish(p, was.occupied); err != nil {
		return receipt{}, err
	}
	return u.describe(s.wall(), !was.served), nil
}

// deleteFile does a DELETE.
func (s *server) deleteFile(r *web.Request, key string) error {
	p, err := s.place(key)
	if err == errNoParent {
		return denied{status: 404}
	}
	if err != nil {
		return err
	}
	defer p.close()
	if p.rest != "" {
		return denied{status: 404}
	}
	if err := p.writable(); err != nil {
		return err
	}
	if err := s.remove(r, p); err != nil {
		return err
	}
	return s.keep(r, p)
}

// remove does what deleteFile needs the lock for.
func (s *server) remove(r *web.Request, p *place) error {
	unlock, err := s.writer.lock(r.Context(), p.fd)
	if err != nil {
		return err
	}
	defer unlock()
	was, err := s.judge(r, p)
	switch {
	case err != nil:
		return err
	case !was.served:
		return denied{status: 404}
	case r.Context().Err() != nil:
		return errLeft
	}
	return again(func() error { return unix.Unlinkat(p.fd, p.base, 0) })
}

// keep sees to it that a change is seen, and stays.
func (s *server) keep(r *web.Request, p *place) error {
	s.forgetName(r.Context(), p.key)
	if !s.writer.options.fsync {
		return nil
	}
	if err := again(func() error { return unix.Fsync(p.fd) }); err != nil && err != unix.EINVAL { // EINVAL: a file system that has none for directories
		return fmt.Errorf("the change is done, but fsync of its directory: %v", err) // not its errno: nothing was refused
	}
	return nil
}

// forgetName makes this child serve what is there now: it forgets all that it knows by the name that has changed.
func (s *server) forgetName(ctx context.Context, key string) {
	for _, affected := range s.affected(key) {
		if landed := s.flights.pending(affected); landed != nil {
			select { // it has looked before the change, and would put into the cache what it saw
			case <-landed:
			case <-ctx.Done():
			}
		}
		s.cache.remove(affected)
	}
}

// pending returns a channel that is closed when nobody looks for key any more, nil if nobody does.
func (f *flights) pending(key string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if present := f.byKey[key]; present != nil {
		return present.done
	}
	return nil
}

// affected returns the keys of what may be served from the file called name: itself, the directory that it may be the index of, what is
// tried with another ending, what it is a coding of, and the pages that it is. A name in try without {path} is for every key, and may be
// served as it was for as long as others are.
func (s *server) affected(name string) []string {
	names := []string{name}
	for c := coding.Identity + 1; c < coding.Count; c++ {
		if plain, ok := strings.CutSuffix(name, c.Extension()); ok && !isDirectory(plain) {
			names = append(names, plain)
		}
	}
	var keys []string
	for _, name := range names {
		directory := parentOf(name)
		keys = append(keys, name, directory)
		for _, template := range s.try {
			suffix, ofPath := strings.CutPrefix(template, pathWord)
			if !ofPath || suffix == "" {
				continue
			}
			if suffix == "/" {
				keys = append(keys, strings.TrimSuffix(directory, "/"))
			} else if key, ok := strings.CutSuffix(name, suffix); ok {
				keys = append(keys, key)
			}
		}
		for key, p := range s.pages.byKey {
			if p.option.file == name {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// A standing is what a change finds under its name.
type standing struct {
	occupied bool // there is something, if only a symlink that leads nowhere
	served   bool // there is a file that GET would send
}

// judge looks whether the request may change what is under p's name now. The conditions of the request come last: they count only if it would
// be done without them (RFC 9110, 13.2.1).
func (s *server) judge(r *web.Request, p *place) (was standing, err error) {
	var st unix.Stat_t
	if p.rest == "" {
		err := again(func() error { return unix.Fstatat(p.fd, p.base, &st, unix.AT_SYMLINK_NOFOLLOW) })
		switch err {
		case nil:
			was.occupied = true
		case unix.ENOENT:
		case unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ: // the file system has no such names
			return was, denied{status: 400}
		default:
			return was, err
		}
		st = unix.Stat_t{}
		switch err := s.root.stat(p.root.fd, p.key, &st); {
		case err == nil:
			was.served = true
		case !absent(err):
			return was, err
		}
		if err := s.unclaimed(p.root.fd, p.key, &st); err != nil {
			return was, err
		}
	}
	if r.Method == http.MethodDelete && !was.served {
		return was, nil // 404 comes before 412
	}
	return was, s.conditions(r, p.key, was.served)
}

// conditions evaluates the preconditions of a change. The present file has two strong tags while its last change is young: that of its
// content, which GET tells now, and that which GET will tell later, which PUT has told. A client may know it by either.
func (s *server) conditions(r *web.Request, key string, served bool) error {
	h := &r.Header
	if !h.Has("If-Match") && !h.Has("If-None-Match") && !h.Has("If-Unmodified-Since") {
		return nil
	}
	var present *web.Representation
	if served {
		e, err := s.look(key)
		switch {
		case err == nil:
			defer e.release()
			present = &e.plain.content
		case !absent(err):
			return err
		}
		if err == nil && present.Size > smallFile {
			later := *present
			later.ETag = statTag(e.id)
			match, none := h.Has("If-Match"), h.Has("If-None-Match")
			switch holds := later.Evaluate(r).Status != 412; {
			case holds && match && !none:
				return nil
			case !holds && none:
				return denied{status: 412}
			}
		}
	}
	if present.Evaluate(r).Status == 412 {
		return denied{status: 412}
	}
	return nil
}

// receive writes the body of r into u, whole.
func (w *writer) receive(u *upload, r *web.Request) error {
	r.Body.Limit(w.options.maxBytes)
	piece := w.pieces.Get().(*[pieceSize]byte)
	defer w.pieces.Put(piece)
	flushed := int64(0)
	for {
		n, err := r.Body.Read(piece[:])
		if n > 0 {
			if err := u.write(piece[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bodyError(err)
		}
		if w.options.fsync && u.size-flushed >= flushEvery {
			// An error only means that fsync has more to do.
			_ = unix.SyncFileRange(u.fd, flushed, u.size-flushed, unix.SYNC_FILE_RANGE_WRITE)
			flushed = u.size
		}
	}
	if length := r.Body.Length(); length >= 0 && u.size != length {
		return fmt.Errorf("%w: %d of %d bytes", errBody, u.size, length)
	}
	return u.finish(&w.options)
}

// bodyError makes sure that an error of the connection is not taken for one of the file system.
func bodyError(err error) error {
	if errors.Is(err, web.ErrBodyTooLarge) {
		return web.ErrBodyTooLarge
	}
	return fmt.Errorf("%w: %v", errBody, err)
}
