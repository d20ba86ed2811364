package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	// quiet is how long nobody must have written before the WAL is cut to nothing.
	quiet = 10 * time.Second
	// drainReaders is how long writers of the server wait, at most, while the readers of the WAL come to their ends so that it can begin anew.
	drainReaders = 40 * time.Millisecond
	// turnBound is how long the housekeeper waits for its turn among the writers: other databases wait with it.
	turnBound = 5 * time.Second
	// alarmEvery is the time from one warning to the next of the same database.
	alarmEvery = time.Minute
)

// A warden watches the WAL of one database. Its methods are called by one goroutine at a time.
//
// Connections of the server never checkpoint (wal_autocheckpoint is 0), so that no request pays for it. The warden copies the WAL back without
// disturbing anybody (PASSIVE) when it is large enough, or old. That cannot keep up with writers who never pause, since the WAL begins anew
// only when all of it was copied back and nobody reads of it: when it grows over a bound the warden takes the writers' turn at the
// turnstile, copies the little that is left, and cuts it (TRUNCATE).
type warden struct {
	database Database
	warn     func(message string, fields ...any)

	looked  time.Time // the last checkpoint
	copied  time.Time // when the WAL was last written, as of a checkpoint that copied all of it
	alarmed time.Time
	seen    map[reader]time.Time // readers that hold the WAL up, since when
}

// turn looks once, and does what is due at the time now.
func (w *warden) turn(ctx context.Context, now time.Time) error {
	wal, err := os.Stat(w.database.Path + "-wal")
	if errors.Is(err, fs.ErrNotExist) || err == nil && wal.Size() == 0 {
		w.seen = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the write-ahead log: %w", err)
	}
	s, size := &w.database.Settings.Checkpoint, wal.Size()
	idle, copied, early := now.Sub(wal.ModTime()) >= quiet, w.copied.Equal(wal.ModTime()), now.Sub(w.looked) < s.Every
	switch {
	case size >= s.bound(): // it must become smaller
	case copied && (!idle || early): // there is nothing to copy, and it is too early to try again to cut it
		return nil
	case !copied && size < s.Size && early:
		return nil
	}
	w.looked = now
	c, err := open(w.database.Path)
	if errors.Is(err, fs.ErrNotExist) { // the file was removed
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	done, err := c.checkpoint("PASSIVE")
	if err != nil {
		return err
	}
	if done {
		w.copied = wal.ModTime()
	}
	if size >= s.bound() || idle && done {
		if err := w.cut(ctx, c, size >= s.bound()); err != nil {
			return err
		}
	}
	return w.alarm(c, now)
}

// bound is the size of a WAL that is cut though somebody writes.
func (s *Checkpointing) bound() int64 { return max(s.Size, s.Alarm/4) }

// cut makes the WAL empty, if the readers let it. When it is urgent it waits for its turn among the writers of the server.
func (w *warden) cut(ctx context.Context, c *conn, urgent bool) error {
	unlock, ok, err := tryLock(w.database.Path)
	if err == nil && !ok && urgent {
		ctx, cancel := context.WithTimeout(ctx, turnBound)
		defer cancel()
		unlock, err = lock(ctx, w.database.Path)
		if ok = err == nil; errors.Is(err, context.DeadlineExceeded) {
			return nil // the next look tries again
		}
	}
	if err != nil || !ok {
		return err
	}
	defer unlock()
	// Once all is copied, new readers see only the database file, and those that see the WAL become fewer. Readers of the server are short.
	for end := time.Now().Add(drainReaders); ; time.Sleep(2 * time.Millisecond) {
		done, err := c.checkpoint("TRUNCATE")
		if err != nil || done || !urgent || time.Now().After(end) {
			return err
		}
	}
}

// checkpoint copies the WAL back. done: all of it, and with TRUNCATE it is empty now. Readers and writers that are in the way are no error.
func (c *conn) checkpoint(mode string) (done bool, err error) {
	frames, copied, busy, err := c.lite.Checkpoint(mode)
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", &statementError{err})
	}
	return !busy && frames == copied, nil // both are -1 without a WAL
}

// alarm warns if the WAL is too large still, and says whose fault it is.
func (w *warden) alarm(c *conn, now time.Time) error {
	wal, err := os.Stat(w.database.Path + "-wal")
	if err != nil || wal.Size() < w.database.Settings.Checkpoint.Alarm {
		w.seen = nil
		return nil // it is gone: nothing to warn of
	}
	list, known, err := readers(w.database.Path)
	if err != nil {
		return err
	}
	list = w.note(list, now)
	if now.Sub(w.alarmed) < alarmEvery {
		return nil
	}
	w.alarmed = now
	fields := []any{"database", w.database.Name, "wal_bytes", wal.Size(), "alarm", w.database.Settings.Checkpoint.Alarm}
	if len(list) == 0 {
		w.warn("the write-ahead log is large, and nobody reads an old part of it: more is written than can be copied back; "+
			"write less at a time, or on a faster disk",
			fields...)
		return nil
	}
	oldest := list[0]
	fields = append(fields, "reader", processName(oldest.pid), "reader_pid", oldest.pid,
		"since", w.seen[oldest].UTC().Format(time.RFC3339), "readers", len(list))
	if known {
		fields = append(fields, "sees_frames", oldest.mark)
	}
	w.warn("the write-ahead log is large, since somebody reads an old state of the database: end that read, or bound its time", fields...)
	return nil
}

// note remembers since when each reader has had its mark, and forgets those that have gone. It returns the list: who is known the longest is
// first among those with equal marks.
func (w *warden) note(list []reader, now time.Time) []reader {
	seen := map[reader]time.Time{}
	for _, r := range list {
		since, known := w.seen[r]
		if !known {
			since = now
		}
		seen[r] = since
	}
	w.seen = seen
	for i := range list {
		if list[i].mark == list[0].mark && seen[list[i]].Before(seen[list[0]]) {
			list[0], list[i] = list[i], list[0]
		}
	}
	return list
}
