package master

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/netcore"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// Children outlive a master that is killed: they serve on, and wait for the next one at their own sockets (child/adopt.go has their side).
// A start looks for them once it has the lock of the children's folder, and so knows that no other master lives:
//
//  1. it connects to every socket in the folder, says the secret, and takes what the child holds. All at once, within a bound;
//  2. sockets that nobody has are removed, children that do not answer are reported;
//  3. shards of a configured address are the listener's, the others leave as in a reload; only what is missing is opened (shards.go);
//  4. the children are in the books as if this master had started them, and are brought to the configuration like a child that has missed
//     a reload. One that cannot be, or is of another executable, gets a successor.
//
// This file is about 1 and 2, adopted.go about the rest. What a child says of itself is not believed: it runs the program's handlers, with
// whatever got into them. The kernel says which process it is, what its files are and where its sockets listen.

const (
	// adoptBound is how long the children of a dead master may take to answer, all together.
	adoptBound = 2 * time.Second
	// callGrace is how long beyond that a call may take to come back.
	callGrace = time.Second / 2
	// maxOrphans is how many sockets in the folder are looked at.
	maxOrphans = 4 * MaxChildren
	// maxOrphanShards is how many shards one child may hold.
	maxOrphanShards = 1 << 14
	// maxOrphanNumber leaves room above the numbers of an orphan for all generations, and all revisions of a value, to come.
	maxOrphanNumber = 1 << 62
	// maxEarly is how many messages of a child are kept until its life is in the books.
	maxEarly = 64
	// maxReason bounds what is told of a child's own words, in bytes.
	maxReason = 200

	secretName = "secret"
	secretSize = 32 // bytes
)

// errNoAnswer: the process is there, and has not answered by the end of the bound.
var errNoAnswer = errors.New("it does not answer in time")

// orphanSocket is the name of a child's own socket: its index, and a number if another life of that index had one when it was made.
var orphanSocket = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})(-[1-9][0-9]{0,5})?\.sock$`)

// An orphan is a child of a master that has died, which has made this one its master.
type orphan struct {
	index  int
	socket string // the name of its socket's file
	conn   *control.Conn
	pid    int
	pidfd  *os.File
	output [2]*os.File // what it prints, to be read
	said   control.Adopted
	life   *os.File // segments, as they came
	past   *os.File
	sums   *os.File // of the shared counters; nil: it has none
	shards []orphanShard
	kept   []*control.Kept
	early  []received // what it has said since
}

// orphanShard is a listening socket that an orphan holds.
type orphanShard struct {
	id     shardID
	name   string // of the listener
	fd     int
	local  netcore.Endpoint
	number uint64 // tells sockets apart

	unordered bool // in the kernel's group, as the master before has said
	alone     bool // a TCP socket that cannot have siblings: a socket unit's, and all children accept from it
}

// missed is a child that this master could not take over.
type missed struct {
	index  int
	socket string
	err    error
}

// readSecret returns the secret that the masters of this folder leave for one another; nil: there is none that can be used.
func (r *runtimeDir) readSecret() []byte {
	fd, err := unix.Openat(int(r.folder.Fd()), secretName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return nil // somebody else could have written or read it
	}
	secret := make([]byte, secretSize+1)
	n, err := unix.Read(fd, secret)
	if err != nil || n != secretSize {
		return nil
	}
	return secret[:n]
}

// newSecret makes the secret anew: who knew the old one cannot take over the children that are started from now on.
func (r *runtimeDir) newSecret() ([]byte, error) {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // it never fails
	at := int(r.folder.Fd())
	_ = unix.Unlinkat(at, secretName+".new", 0) // of a master that was killed at this place
	fd, err := unix.Openat(at, secretName+".new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(r.children, secretName), Err: err}
	}
	f := os.NewFile(uintptr(fd), secretName)
	_, err = f.Write(secret)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.NewSyscallError("rename", unix.Renameat(at, secretName+".new", at, secretName))
	}
	if err != nil {
		return nil, fmt.Errorf("secret of the children: %w", err)
	}
	return secret, nil
}

// callOrphans takes over every child whose socket is in the folder, within the bound. log takes the lines that they have kept; any goroutine.
// The orphans are in the order of their indexes, and of two of one index the one that was started last comes last, as far as the names of
// their sockets tell. Sockets that no process has are removed.
func (r *runtimeDir) callOrphans(secret []byte, version string, bound time.Duration, log func(*control.Log)) (found []*orphan, lost []missed, err error) {
	names, err := r.orphanSockets()
	if err == nil {
		found, lost = r.call(names, secret, version, bound, log)
	}
	return found, lost, err
}

// call is callOrphans for the sockets of these names.
func (r *runtimeDir) call(names []string, secret []byte, version string, bound time.Duration, log func(*control.Log)) (found []*orphan, lost []missed) {
	by := time.Now().Add(bound)
	answers := make(chan called, len(names))
	for _, name := range names {
		go func() {
			o := &orphan{socket: name, index: socketIndex(name)}
			err := o.call(fmt.Sprintf("/proc/self/fd/%d/%s", r.folder.Fd(), name), secret, version, by, log)
			if err != nil {
				o.letGo()
			}
			answers <- called{o, err}
		}()
	}
	// Every call has the same bound of its own. Beyond it only what a hostile child can make of closing a file it has sent is waited for,
	// and that not here.
	timer := time.NewTimer(bound + callGrace)
	defer timer.Stop()
	waiting := map[string]bool{}
	for _, name := range names {
		waiting[name] = true
	}
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.orphan.socket)
			switch {
			case a.err == nil:
				found = append(found, a.orphan)
			case errors.Is(a.err, unix.ECONNREFUSED), errors.Is(a.err, unix.ENOENT):
				r.removeSocket(a.orphan.socket) // its process is gone
			default:
				lost = append(lost, missed{index: a.orphan.index, socket: a.orphan.socket, err: a.err})
			}
		case <-timer.C:
			for name := range waiting {
				lost = append(lost, missed{index: socketIndex(name), socket: name, err: errNoAnswer})
			}
			go func(late int) {
				for range late {
					(<-answers).orphan.letGo()
				}
			}(len(waiting))
			clear(waiting)
		}
	}
	slices.SortFunc(found, func(a, b *orphan) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.socket), len(b.socket)), cmp.Compare(a.socket, b.socket))
	})
	slices.SortFunc(lost, func(a, b missed) int { return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.socket, b.socket)) })
	return found, lost
}

// called is what became of a call.
type called struct {
	orphan *orphan
	err    error
}

// orphanSockets are the names of the children's sockets in the folder.
func (r *runtimeDir) orphanSockets() ([]string, error) {
	entries, err := os.ReadDir(r.children)
	if err != nil {
		return nil, fmt.Errorf("children of an earlier master: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type() == fs.ModeSocket && orphanSocket.MatchString(e.Name()) && len(names) < maxOrphans {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func socketIndex(name string) int {
	index, _ := strconv.Atoi(orphanSocket.FindStringSubmatch(name)[1]) // at most six digits
	return index
}

// call makes the child behind path this process's. After an error o.letGo has to be called.
func (o *orphan) call(path string, secret []byte, version string, by time.Time, log func(*control.Log)) error {
	conn, err := control.Dial(path)
	if err != nil {
		return err
	}
	o.conn = conn
	if secret == nil {
		return errors.New("there is no secret in the runtime directory that this user alone can read and write")
	}
	if o.index >= MaxChildren {
		return fmt.Errorf("there are no more than %d children", MaxChildren)
	}
	if err := o.ask(secret, version, by); err != nil {
		return err
	}
	if err := conn.ReceiveBy(by); err != nil {
		return err
	}
	if err := o.takeAll(); err != nil {
		return err
	}
	if err := o.verify(by, log); err != nil {
		return err
	}
	return conn.ReceiveBy(time.Time{})
}

// ask sends the request, with the pipes for what the child prints.
func (o *orphan) ask(secret []byte, version string, by time.Time) error {
	var ends []int
	defer func() { closeFds(ends) }()
	for i := range o.output {
		var pipe [2]int
		// The writing end blocks, as those that print expect; the reading end is for Go's poller.
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("pipe2", err)
		}
		ends = append(ends, pipe[1])
		if err := unix.SetNonblock(pipe[0], true); err != nil {
			_ = unix.Close(pipe[0])
			return os.NewSyscallError("fcntl", err)
		}
		o.output[i] = os.NewFile(uintptr(pipe[0]), "output of a child")
	}
	return o.conn.SendWithin(time.Until(by), &control.Adopt{Secret: secret, Version: version}, ends...)
}

// takeAll takes the child's answer: Adopted, as many times as it needs, and its values.
func (o *orphan) takeAll() error {
	for more := true; more; {
		m, files, err := o.conn.Receive()
		if err != nil {
			return silent(err)
		}
		a, ok := m.(*control.Adopted)
		if !ok {
			closeAll(files)
			if d, ok := m.(*control.Declined); ok {
				return fmt.Errorf("it declines: %.*q", maxReason, d.Reason)
			}
			return fmt.Errorf("it says %s in place of %s", m.Kind(), control.KindAdopted)
		}
		if err := o.take(a, files); err != nil {
			return err
		}
		more = a.More
	}
	if o.said.Values < 0 || o.said.Values > board.MaxValues {
		return fmt.Errorf("it says that it has %d shared values", o.said.Values)
	}
	for range o.said.Values {
		m, files, err := o.conn.Receive()
		if err != nil {
			return silent(err)
		}
		closeAll(files)
		k, ok := m.(*control.Kept)
		switch {
		case !ok:
			return fmt.Errorf("it says %s in place of a shared value", m.Kind())
		case len(k.Text) > board.MaxValue:
			return fmt.Errorf("its shared value has %d bytes, which is too long", len(k.Text))
		case k.Revision == 0 || k.Revision > maxOrphanNumber:
			return fmt.Errorf("its shared value has the revision %d", k.Revision)
		}
		o.kept = append(o.kept, k)
	}
	return nil
}

// silent names what has come in place of an answer.
func silent(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errNoAnswer
	case errors.Is(err, io.EOF):
		return errors.New("it has closed the connection")
	}
	return err
}

// take takes one message of the child's answer. It owns the files.
func (o *orphan) take(a *control.Adopted, files []*os.File) error {
	used := 0
	defer func() { closeAll(files[used:]) }()
	sender := o.conn.Sender()
	if o.pid == 0 { // the first
		o.pid, o.said = sender, *a
		o.said.Shards = nil
		own := 3 // its socket, its life, the past
		if len(a.Counters) > 0 {
			own = 4
		}
		switch {
		case sender <= 0:
			return errors.New("its process is not visible from here: it is in another PID namespace")
		case a.Child != o.index:
			return fmt.Errorf("it says that it is child %d", a.Child)
		case a.Generation == 0 || a.Generation > maxOrphanNumber:
			return fmt.Errorf("it says that it serves generation %d", a.Generation)
		case len(files) < own:
			return fmt.Errorf("it sends %d files and not at least %d", len(files), own)
		}
		_ = files[0].Close() // the socket's file is enough for us
		used = own
		o.life, o.past = files[1], files[2]
		if own == 4 {
			o.sums = files[3]
		}
	}
	switch {
	case sender != o.pid:
		return fmt.Errorf("two processes talk: %d and %d", o.pid, sender)
	case len(files)-used != len(a.Shards):
		return fmt.Errorf("it sends %d files for %d shards", len(files)-used, len(a.Shards))
	case len(a.Shards) == 0 && a.More, len(o.shards)+len(a.Shards) > maxOrphanShards:
		return fmt.Errorf("it talks too much: after %d shards", len(o.shards))
	}
	for _, s := range a.Shards {
		f := files[used]
		used++
		if err := o.takeShard(s, f); err != nil {
			return err
		}
	}
	return nil
}

// takeShard takes a socket over, if it is one that a master can have lent. It closes the file.
func (o *orphan) takeShard(s control.Shard, f *os.File) error {
	defer f.Close()
	if s.ID == 0 || s.Index < 0 || s.Index >= MaxChildren {
		return fmt.Errorf("it holds a shard %d of a listener %d", s.Index, s.ID)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	shard := orphanShard{id: shardID{s.ID, s.Index}, name: s.Listener, fd: -1, unordered: s.Unordered}
	outer := raw.Control(func(fd uintptr) {
		var reusePort bool
		if shard.local, reusePort, err = netcore.Listening(int(fd)); err != nil {
			return
		}
		if shard.local.Network == "tcp" {
			if !reusePort && s.Index > 0 {
				err = errors.New("it cannot have siblings: SO_REUSEPORT is not set")
				return
			}
			shard.alone = !reusePort || s.Index == 0 && !canJoin(shard.local)
		}
		if shard.number = socketNumber(int(fd)); shard.number == 0 {
			err = errors.New("it has no number")
			return
		}
		shard.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err := errors.Join(outer, err); err != nil {
		return fmt.Errorf("shard %d of listener %d is no socket that was lent: %w", s.Index, s.ID, err)
	}
	o.shards = append(o.shards, shard)
	return nil
}

// verify makes sure that the process that can be signalled is the one that talks. The kernel has named the sender of what came; the
// number may have been given to another process since, for the connection could be in other hands. An answer that names the same number
// after the process was opened settles it.
func (o *orphan) verify(by time.Time, log func(*control.Log)) error {
	fd, err := unix.PidfdOpen(o.pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for Go's poller
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	o.pidfd = os.NewFile(uintptr(fd), "process")
	if err := o.conn.SendWithin(time.Until(by), &control.Ping{}); err != nil {
		return err
	}
	for {
		m, files, err := o.conn.Receive()
		if err != nil {
			return silent(err)
		}
		if o.conn.Sender() != o.pid {
			closeAll(files)
			return fmt.Errorf("two processes talk: %d and %d", o.pid, o.conn.Sender())
		}
		switch m := m.(type) {
		case *control.Pong:
			closeAll(files)
			return nil
		case *control.Log:
			closeAll(files)
			log(m)
		default:
			o.early = append(o.early, received{m, files})
			if len(o.early) > maxEarly {
				return errors.New("it talks too much before it answers")
			}
		}
	}
}

// letGo gives the child up, as if this master had died: it waits for another one.
func (o *orphan) letGo() {
	if o.conn != nil {
		_ = o.conn.Close()
	}
	for _, f := range []*os.File{o.pidfd, o.output[0], o.output[1]} {
		if f != nil {
			_ = f.Close()
		}
	}
	o.forget()
	for _, r := range o.early {
		closeAll(r.files)
	}
	o.early = nil
}

// forget closes what this master has of the child's files.
func (o *orphan) forget() {
	for _, f := range []*os.File{o.life, o.past, o.sums} {
		if f != nil {
			_ = f.Close()
		}
	}
	o.life, o.past, o.sums = nil, nil, nil
	for _, s := range o.shards {
		_ = unix.Close(s.fd)
	}
	o.shards = nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
