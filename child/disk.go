package child

import (
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/worker"
	"github.com/tined/tined/netcore"
)

// This file is what a file that is sent has to wait for: its disk. The loop sends what is in the page cache, by sendfile(2) or, if it is
// short, by a read. Where a range is not there, or that cannot be known, a worker reads it, which brings it there, while the loop serves the
// others:
//
//	flush: netcore.ErrUncached ──▶ fetch ──▶ a worker reads up to fetchMost bytes ──▶ fetched: they are sent, without asking again
//	                                 │
//	                                 └─ closed meanwhile: leaveFetch ──▶ the worker has finished ──▶ endFetch: the file is released
//
// Meanwhile the connection is taken for one whose socket is full, so nothing of it is in the way of the others; its write_timeout stands
// still. It has one fetch under way at most, so all get their turn at the disk, and the connections bound the pool's queue: no fetch is refused.
// A fetch is sent at once as far as the socket has room. What is left of it is asked for again once the client has made room, however
// long that took.
//
// Where the file system cannot tell (netcore.ErrCacheUnknown), each response would need a worker, however hot its file is. So what was
// fetched there is taken to be in the page cache for a while, by all connections: see warmth.

const (
	// fetchMost is how many bytes are fetched at a time: what one connection may send in a turn.
	fetchMost = writeChunk
	// fetchPiece is how many of them a worker reads by one call, into memory that is only there for that.
	fetchPiece = 64 << 10
	// diskWorkers is how many fetches of a child are under way at a time. Disks do several reads better than one; each takes a thread.
	diskWorkers = 16
	// diskQueue is how many fetches wait: more than there are descriptors for connections (fs.nr_open, proc_sys_fs(5)).
	diskQueue = 1 << 30
	// warmTime is how long, in ns, what was fetched is taken to be in the page cache where nobody can tell. warmFiles is of how many files
	// that is remembered.
	warmTime  = 3 * int64(time.Second)
	warmFiles = 1 << 10
)

// A disk reads files for the loop, on a pool of its own: handlers that wait for something else do not hold it up. It lives as long as the
// child.
type disk struct {
	pool   *worker.Pool
	read   func(fd int, p []byte, offset int64) (int, error) // the workers' pread(2)
	pieces *sync.Pool                                        // of *[fetchPiece]byte

	// The loop's.
	peek   func(fd int, p []byte, offset int64) (int, error) // netcore.ReadCached
	wait   func(fd int, p []byte, offset int64) (int, error) // netcore.ReadWaiting
	warm   warmth
	logged int64 // when an error was logged last
}

func newDisk() disk {
	return disk{
		pool:   worker.New(worker.Options{Name: "disk", Max: diskWorkers, Queue: diskQueue}),
		read:   unix.Pread,
		pieces: &sync.Pool{New: func() any { return new([fetchPiece]byte) }},
		peek:   netcore.ReadCached,
		wait:   netcore.ReadWaiting,
	}
}

// bring reads n bytes of a file from offset on, and forgets them. ahead bytes behind them are asked for, and not waited for: the disk reads
// them while these are sent. The end of the file is no error: who sends it will meet it too.
func (d *disk) bring(fd int, offset, n, ahead int64) error {
	_ = unix.Fadvise(fd, offset, n+ahead, unix.FADV_WILLNEED) // large requests rather than one for each piece; what cannot do that reads on
	piece := d.pieces.Get().(*[fetchPiece]byte)
	defer d.pieces.Put(piece)
	for n > 0 {
		got, err := d.read(fd, piece[:min(n, fetchPiece)], offset)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case got == 0:
			return nil
		}
		offset += int64(got)
		n -= int64(got)
	}
	return nil
}

// A diskFetch is a range of a file that a worker reads for a connection. Everything is written by the loop before the worker has it, but for
// err and what is the loop's alone.
type diskFetch struct {
	job    worker.Job
	loop   *loop
	fd     int32 // of the connection, as is serial
	serial uint32
	file   int // its descriptor, which stays open until the worker has finished
	offset int64
	n      int64
	ahead  int64 // bytes behind them that will be sent too
	err    error

	blind      bool        // the loop's: nobody can tell whether the range is in the page cache
	generation *generation // the loop's: held until the file is not needed any more; nil: none
	orphan     bool        // the loop's: the connection has gone
	released   web.File    // the loop's: the file of an orphan
	left       int64       // the loop's: ns of the period of write_timeout when the fetch began
}

// Run is the worker's part.
func (f *diskFetch) Run() {
	f.err = f.loop.disk.bring(f.file, f.offset, f.n, f.ahead)
	f.loop.post(event{kind: eventFetched, fd: f.fd, serial: f.serial, fetch: f})
}

// fetch has the next part of s read, the first segment of what c has to send. blind: its file system cannot tell what is cached.
func (l *loop) fetch(c *conn, s *segment, blind bool) {
	c.unset(flagWritable)
	f := &diskFetch{loop: l, fd: c.fd, serial: c.serial, file: int(s.file.Fd()), offset: s.off, n: min(s.n, fetchMost), blind: blind}
	f.ahead = min(s.n-f.n, fetchMost)
	f.job.Task = f
	if ex := c.pipeline.sent(); ex != nil && ex.gen != nil {
		f.generation = ex.gen
		f.generation.hold()
	}
	c.out.fetch, c.out.fetched = f, 0
	l.pauseWriteDeadline(c, f)
	l.handed++
	if !l.disk.pool.Submit(&f.job) { // it is never full
		c.out.fetch = nil
		l.endFetch(f)
		l.close(c, reasonSystem)
	}
}

// fetched goes on with a connection whose file was read; the caller flushes it.
func (l *loop) fetched(c *conn, f *diskFetch) {
	c.out.fetch = nil
	l.endFetch(f)
	if f.err != nil {
		l.unreadable(f.err)
		l.close(c, reasonSystem)
		return
	}
	c.out.fetched = f.offset + f.n
	if f.blind {
		l.remember(c.out.segments[c.out.first].file, f.offset, c.out.fetched)
	}
	c.set(flagWritable) // it was, and nothing was sent since
	l.resumeWriteDeadline(c, f)
}

// leaveFetch gives the fetch of an output up. A worker that reads keeps the file until it has finished.
func (l *loop) leaveFetch(o *output) {
	f := o.fetch
	o.fetch = nil
	if l.disk.pool.Remove(&f.job) {
		l.endFetch(f)
		return
	}
	f.orphan = true
	s := &o.segments[o.first]
	f.released, s.file = s.file, nil
}

// endFetch lets go what a fetch has held that no worker has any more.
func (l *loop) endFetch(f *diskFetch) {
	if f.released != nil {
		l.releaseFile(f.released)
		f.released = nil
	}
	if f.generation != nil {
		f.generation.let()
		f.generation = nil
	}
}

// unreadable logs, once a second at most, that a file could not be read.
func (l *loop) unreadable(err error) {
	if l.disk.logged == 0 || l.now-l.disk.logged >= int64(time.Second) {
		l.disk.logged = l.now
		l.host.logLine(levelError, "a file that is being sent cannot be read", "error", err)
	}
}

// warmth is what was fetched within warmTime of files whose file system cannot tell what is cached. It is a bet: if a page of such a range is
// dropped within that time, the loop waits for the disk once.
//
// A file has its place by its descriptor, and is known by identity, so only one that outlives a response gains by it: one of a cache. What is
// remembered keeps a file from the garbage collector, not from its Release; a descriptor that is used again belongs to another File.
type warmth struct {
	ranges []warmRange // warmFiles of them, by descriptor; nil until the first
	timer  netcore.Timer
}

// A warmRange is the bytes from offset from up to to. They were read not earlier than warmTime before until, in ns.
type warmRange struct {
	file            web.File // a pointer; nil: none
	from, to, until int64
}

// place is where what is known of a file has its place; nil: nothing is known of any.
func (w *warmth) place(file web.File) *warmRange {
	if w.ranges == nil {
		return nil
	}
	return &w.ranges[file.Fd()%warmFiles]
}

// present returns up to which offset of its file a segment, from its own offset on, can be read without asking the page cache: what was
// fetched for o, whose first segment it may be, or for others a short time ago. At or below the segment's offset: nothing.
func (l *loop) present(o *output, s *segment) int64 {
	upTo := int64(0)
	if s == &o.segments[o.first] {
		upTo = o.fetched
	}
	if r := l.disk.warm.place(s.file); r != nil && r.file == s.file && r.from <= s.off && l.now < r.until {
		upTo = max(upTo, r.to)
	}
	return upTo
}

// remember takes down that a range of a file was fetched. It extends what is known of the file if it touches that, without a longer time
// for it; otherwise the longer range of the two stays. Another file that has the place loses it.
func (l *loop) remember(file web.File, from, to int64) {
	if reflect.TypeOf(file).Kind() != reflect.Pointer { // other values may not be comparable
		return
	}
	w := &l.disk.warm
	if w.ranges == nil {
		w.ranges = make([]warmRange, warmFiles)
	}
	r, now := w.place(file), warmRange{file, from, to, l.now + warmTime}
	switch {
	case r.file != file || r.until <= l.now:
		*r = now
	case from <= r.to && r.from <= to:
		r.from, r.to = min(r.from, from), max(r.to, to)
	case to-from > r.to-r.from:
		*r = now
	}
	if !w.timer.Armed() {
		l.wheel.Schedule(&w.timer, l.now+warmTime)
	}
}

// cool forgets what is too old, and comes back for the rest.
func (l *loop) cool() {
	w, next := &l.disk.warm, int64(0)
	for i := range w.ranges {
		switch r := &w.ranges[i]; {
		case r.file == nil:
		case r.until <= l.now:
			*r = warmRange{}
		case next == 0 || r.until < next:
			next = r.until
		}
	}
	if next != 0 {
		l.wheel.Schedule(&w.timer, next)
	}
}

// pauseWriteDeadline stops the clock of write_timeout: the time of the disk is not the client's.
func (l *loop) pauseWriteDeadline(c *conn, f *diskFetch) {
	if c.phase == phaseWrite {
		f.left = max(0, c.timer.Due()-l.now)
	} else {
		f.left = l.limitsIn(c, phaseWrite).writeTimeout
		c.mark = l.takenBytes(c)
		c.phase = phaseWrite
	}
	l.wheel.Schedule(&c.timer, never)
}

// resumeWriteDeadline lets it go on, unless a deadline of the handler's own has taken its place.
func (l *loop) resumeWriteDeadline(c *conn, f *diskFetch) {
	if c.phase == phaseWrite {
		l.wheel.Schedule(&c.timer, l.now+f.left)
	}
}
