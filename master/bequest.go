package master

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// What an upgrade passes on: duplicates of all that a master holds, from the predecessor (bequeath) to the successor (claim).

// claimBound is how long a predecessor may take to pass everything on.
const claimBound = 10 * time.Second

// bequeath gives the successor duplicates of all that a master holds.
func (m *master) bequeath(u *upgrading) {
	b := &control.Bequest{
		Version: u.kept.version, Executable: u.kept.path, Identity: u.kept.identity, Control: m.runtime.control, Children: m.runtime.children,
		Secret: m.runtime.secret, Generation: m.lastGeneration, Slots: m.children(), Configured: m.config.Children, LastListener: m.shards.lastID,
		Supervisor: m.o.supervisor, CanaryMillis: u.request.CanaryMillis, Init: m.o.Init != nil,
	}
	if m.supervision != nil {
		b.Stored = m.supervision.store.held
	}
	socket, err := m.runtime.listener.(*operatorListener).duplicate()
	if err != nil {
		m.endSuccessor(u, fmt.Sprintf("the control socket cannot be passed on: %v", err))
		return
	}
	defer unix.Close(socket)
	fds := []int{socket, int(m.runtime.folder.Fd())}
	if m.past != nil {
		b.Past = true
		fds = append(fds, int(m.past.File().Fd()))
	}
	if m.counters != nil {
		b.Counters = m.o.Shared.Counters()
		fds = append(fds, int(m.counters.File().Fd()))
	}
	if m.o.Init != nil {
		fds = append(fds, int(m.o.Init.Fd()))
	}
	var shards []lentShard
	for _, l := range m.shards.listeners {
		b.Listeners = append(b.Listeners, control.BequestListener{ID: l.id, Name: l.name, Unordered: l.unknown, Units: l.units, Kept: l.kept})
		for i, fd := range l.shards {
			shards = append(shards, lentShard{control.Shard{ID: l.id, Listener: l.name, Index: i, Address: l.local.String()}, fd})
		}
	}
	var lives []*child
	for c := range m.lives {
		if c.life != nil && c.life.File() != nil {
			lives = append(lives, c)
		}
	}
	var kept []*control.Kept
	for _, v := range m.o.Shared.Values() {
		if text, revision := v.Reading(); revision > 0 {
			kept = append(kept, &control.Kept{Name: v.Name(), Revision: revision, Text: []byte(text)})
			u.values[v.Name()] = revision
		}
	}
	b.Values = len(kept)
	m.passOn(u, b, fds, lives, shards)
	for _, k := range kept {
		u.conn.Send(k)
	}
}

// lentShard is a shard and its descriptor.
type lentShard struct {
	control.Shard
	fd int
}

// passOn sends the first message, and lives and shards with it, and with as many further ones as they need.
func (m *master) passOn(u *upgrading, b *control.Bequest, fds []int, lives []*child, shards []lentShard) {
	for {
		n := min(len(lives), bequestFiles)
		for _, c := range lives[:n] {
			b.Lives = append(b.Lives, control.BequestLife{Child: c.slot.index, Pid: c.proc.Pid()})
			fds = append(fds, int(c.life.File().Fd()))
		}
		lives = lives[n:]
		n = min(len(shards), bequestFiles-n)
		for _, s := range shards[:n] {
			b.Shards = append(b.Shards, s.Shard)
			fds = append(fds, s.fd)
		}
		shards = shards[n:]
		b.More = len(lives)+len(shards) > 0
		u.conn.Send(b, fds...)
		if !b.More {
			return
		}
		b, fds = &control.Bequest{}, nil
	}
}

// bequestFiles is how many lives and shards one message carries: with the longest names and addresses they fit.
const bequestFiles = 64

// bequeathLife tells the successor of a life that has begun since it has claimed the others.
func (m *master) bequeathLife(c *child) {
	if u := m.upgrading; u != nil && u.claimed && !u.left && c.life != nil && c.life.File() != nil {
		u.conn.Send(&control.Bequest{Lives: []control.BequestLife{{Child: c.slot.index, Pid: c.proc.Pid()}}}, int(c.life.File().Fd()))
	}
}

// claim asks the predecessor for all that it holds.
func claim(conn *control.Conn, version, executable string) (_ *succession, err error) {
	s := &succession{
		channel: conn, stage: control.StageProving, lives: map[int]*board.Life{}, values: map[string]uint64{},
	}
	defer func() {
		if err != nil {
			s.refuse(err.Error())
			err = fmt.Errorf("upgrade: %w", err)
		}
	}()
	if err := conn.Send(&control.Claim{Pid: os.Getpid(), Version: version, Executable: executable}); err != nil {
		return s, err
	}
	if err := conn.ReceiveBy(time.Now().Add(claimBound)); err != nil {
		return s, err
	}
	for first, more := true, true; more; first = false {
		m, files, err := conn.Receive()
		if err != nil {
			return s, silent(err)
		}
		b, ok := m.(*control.Bequest)
		if !ok {
			closeAll(files)
			return s, fmt.Errorf("the process before says %s in place of %s", m.Kind(), control.KindBequest)
		}
		if first {
			s.bequest = *b
			files, err = s.takeFiles(b, files)
		}
		if err == nil {
			err = s.take(b, files)
		}
		if err != nil {
			return s, err
		}
		more = b.More
	}
	for range s.bequest.Values {
		m, files, err := conn.Receive()
		if err != nil {
			return s, silent(err)
		}
		closeAll(files)
		k, ok := m.(*control.Kept)
		if !ok {
			return s, fmt.Errorf("the process before says %s in place of a shared value", m.Kind())
		}
		s.kept = append(s.kept, k)
		s.values[k.Name] = k.Revision
	}
	return s, conn.ReceiveBy(time.Time{})
}

// takeFiles takes what the first message alone brings, and returns the other files.
func (s *succession) takeFiles(b *control.Bequest, files []*os.File) (_ []*os.File, err error) {
	next := func() *os.File {
		if len(files) == 0 {
			err = errors.New("the process before has passed fewer files on than it says")
			return nil
		}
		f := files[0]
		files = files[1:]
		return f
	}
	socket, folder := next(), next()
	if b.Past {
		s.past = next()
	}
	if len(b.Counters) > 0 {
		s.counters = next()
	}
	if b.Init {
		s.init = next()
	}
	if err != nil {
		for _, f := range []*os.File{socket, folder} {
			if f != nil {
				_ = f.Close()
			}
		}
		return files, err
	}
	s.runtime, err = inheritRuntime(b.Control, b.Children, socket, folder, b.Secret)
	return files, err
}

// take takes the lives and shards of one message. It closes the files.
func (s *succession) take(b *control.Bequest, files []*os.File) error {
	defer closeAll(files)
	if len(files) != len(b.Lives)+len(b.Shards) {
		return fmt.Errorf("the process before has passed %d files on for %d lives and %d shards", len(files), len(b.Lives), len(b.Shards))
	}
	for i, l := range b.Lives {
		if life, err := board.OpenLife(files[i]); err == nil { // of another layout: its numbers are lost, and it serves as well
			s.lives[l.Pid] = life
		}
	}
	for i, shard := range b.Shards {
		if err := s.takeShard(shard, files[len(b.Lives)+i]); err != nil {
			return fmt.Errorf("shard %d of %q: %w", shard.Index, shard.Listener, err)
		}
	}
	return nil
}

// takeShard takes a socket over, if it is one that can be a shard. It closes the file.
func (s *succession) takeShard(shard control.Shard, f *os.File) error {
	o := orphan{}
	if err := o.takeShard(shard, f); err != nil {
		return err
	}
	s.shards = append(s.shards, o.shards...)
	return nil
}

// giveUp closes all that was passed on, for a process that ends before its loop runs.
func (s *succession) giveUp() {
	_ = s.channel.Close()
	for _, shard := range s.shards {
		_ = unix.Close(shard.fd)
	}
	for _, f := range []*os.File{s.past, s.counters, s.init} {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, life := range s.lives {
		_ = life.Close()
	}
	if s.runtime != nil {
		s.runtime.close()
	}
	s.shards, s.past, s.counters, s.init, s.lives, s.runtime = nil, nil, nil, nil, nil, nil
}

// refuse tells the predecessor why this process ends before its loop has begun.
func (s *succession) refuse(why string) {
	_ = s.channel.Send(&control.Sick{Reason: why}) // it sees the end in any case
	s.giveUp()
}

// fits says why a configuration cannot be served in the predecessor's place; nil: it can.
func (s *succession) fits(o Options, config *configs.Config) error {
	path, err := ControlPath(o.Name, o.Control, config.Control)
	if err != nil {
		return err
	}
	const cure = "put it back, or stop the server and start it again"
	if path != s.bequest.Control {
		return fmt.Errorf("`control` is %s now and was %s, which an upgrade cannot change: %s", path, s.bequest.Control, cure)
	}
	if folder := childrenFolder(path, config.Runtime); folder != s.bequest.Children {
		return fmt.Errorf("`runtime_dir` is %s now and was %s, which an upgrade cannot change: %s", filepath.Dir(folder), filepath.Dir(s.bequest.Children), cure)
	}
	return nil
}

// inheritShards makes listeners of the predecessor's shards, as leaving ones: a change takes those of configured addresses into service.
func (m *master) inheritShards(config *configs.Config) error {
	s := m.succession
	if err := m.shards.adopt(&orphan{shards: s.shards}); err != nil {
		return fmt.Errorf("the sockets of the process before: %w", err)
	}
	for _, shard := range s.shards {
		_ = unix.Close(shard.fd) // adopt has made duplicates
	}
	s.shards = nil
	m.shards.lastID = max(m.shards.lastID, s.bequest.LastListener)
	for _, b := range s.bequest.Listeners {
		if l := m.shards.byID(b.ID); l != nil {
			l.name, l.unknown, l.units, l.kept = b.Name, b.Unordered, b.Units, b.Kept
		}
	}
	for _, l := range m.shards.listeners {
		l.dress(config.Listeners)
	}
	return nil
}
