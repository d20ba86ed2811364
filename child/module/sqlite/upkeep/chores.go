package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tined/tined/child/module"
)

// A Set are the databases of one block.
type Set struct {
	// Declared are those that the configuration names.
	Declared []Database
	// Found returns those that are in the directory at the moment, without the declared ones; nil: there are no others.
	Found func() ([]Database, error)
	// FoundSettings are those of what Found returns.
	FoundSettings Settings
}

const (
	// checkpointTick is how often WALs are looked at, by stat(2).
	checkpointTick = time.Second
	// checkpointBound is how long that may take for all databases of a block, most of all the copying back of a large one on a slow disk.
	checkpointBound = 10 * time.Minute
	// backupTick is how often the directory of backups is looked at, at most; least is for those that are made often.
	backupTick  = time.Minute
	backupLeast = time.Second
	// Between two tries after a failure: at first, and in the end.
	retryFirst, retryMost = time.Minute, time.Hour
)

// Chores are what the housekeeper does for the databases of one block. An error names the setting that is wrong.
//
// There is a chore for the checkpoints of all, one for the backups of each declared database that wants some, and one for those of all that are
// found: a file that appears is looked after without a reload.
func Chores(s Set, log func(level module.Level, message string, fields ...module.Field)) ([]module.Chore, error) {
	folders := map[string]bool{}
	for _, d := range s.Declared {
		folders[filepath.Dir(d.Path)] = true
	}
	list := []module.Chore{{Name: "checkpoint", Every: checkpointTick, Timeout: checkpointBound, Run: newPatrol(s, log).run}}
	for _, d := range s.Declared {
		if b := d.Settings.Backup; b != nil {
			if err := b.usable(d.Name, folders); err != nil {
				return nil, err
			}
			list = append(list, backupChore("backup "+d.Name, b, func() ([]Database, error) { return []Database{d}, nil }, log))
		}
	}
	if b := s.FoundSettings.Backup; b != nil && s.Found != nil {
		if err := b.usable("*", folders); err != nil {
			return nil, err
		}
		list = append(list, backupChore("backup *", b, s.Found, log))
	}
	return list, nil
}

// usable looks at the directory of backups.
func (b *Backups) usable(name string, folders map[string]bool) error {
	info, err := os.Stat(b.Directory)
	switch {
	case err != nil:
		return fmt.Errorf("database %q: the directory of its backups: %w; make it, and let the user of the children write there", name, err)
	case !info.IsDir():
		return fmt.Errorf("database %q: %s, for its backups, is no directory", name, b.Directory)
	case folders[filepath.Clean(b.Directory)]:
		return fmt.Errorf("database %q: its backups would lie among the databases in %s: give them a directory of their own", name, b.Directory)
	}
	return nil
}

// A patrol goes round the WALs of a set.
type patrol struct {
	set Set
	log func(level module.Level, message string, fields ...module.Field)

	mu      sync.Mutex // a run of one generation and of the next could meet
	wardens map[string]*warden
}

func newPatrol(s Set, log func(level module.Level, message string, fields ...module.Field)) *patrol {
	return &patrol{set: s, log: log, wardens: map[string]*warden{}}
}

func (p *patrol) run(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	list, err := p.set.all()
	mistakes := []error{err}
	there := map[string]bool{}
	for _, d := range list {
		d.Path = resolved(d.Path)
		there[d.Path] = true
		w := p.wardens[d.Path]
		if w == nil {
			w = &warden{database: d, warn: func(message string, fields ...any) { p.log(module.Warn, message, fieldsOf(fields)...) }}
			p.wardens[d.Path] = w
		}
		if err := w.turn(ctx, time.Now()); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", d.Name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	maps.DeleteFunc(p.wardens, func(path string, _ *warden) bool { return !there[path] })
	return errors.Join(mistakes...)
}

// all returns declared and found ones. With an error it returns the declared ones.
func (s *Set) all() ([]Database, error) {
	if s.Found == nil {
		return s.Declared, nil
	}
	found, err := s.Found()
	return append(slices.Clone(s.Declared), found...), err
}

func fieldsOf(pairs []any) (fields []module.Field) {
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, module.Field{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return fields
}

// A retry is when a database's backup is tried again after a failure.
type retry struct {
	pause time.Duration
	after time.Time
}

// backupChore looks again and again whether a backup is due, and makes it. What is due is told by the newest file in the directory, so that a
// restart, a reload, or a backup by hand moves nothing.
func backupChore(name string, b *Backups, databases func() ([]Database, error), log func(module.Level, string, ...module.Field)) module.Chore {
	var mu sync.Mutex
	failed := map[string]retry{}
	return module.Chore{Name: name, Every: min(max(b.Every/20, backupLeast), backupTick), Timeout: b.Timeout, Run: func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		list, err := databases()
		mistakes := []error{err}
		slices.SortStableFunc(list, func(x, y Database) int { return cmp.Compare(x.Name, y.Name) })
		for _, d := range list {
			now := time.Now()
			if now.Before(failed[d.Name].after) {
				continue
			}
			err := backUpIfDue(ctx, d, b, now, log)
			if ctx.Err() != nil {
				return errors.Join(append(mistakes, ctx.Err())...)
			}
			if err == nil || errors.Is(err, errCopying) {
				delete(failed, d.Name)
				continue
			}
			pause := min(max(2*failed[d.Name].pause, min(retryFirst, b.Every)), retryMost)
			failed[d.Name] = retry{pause, now.Add(pause)}
			mistakes = append(mistakes, fmt.Errorf("%w; it is tried again in %v", err, pause))
		}
		return errors.Join(mistakes...)
	}}
}

func backUpIfDue(ctx context.Context, d Database, b *Backups, now time.Time, log func(module.Level, string, ...module.Field)) error {
	list, err := copies(b.Directory, d.Name)
	if err != nil || !b.due(now, list) {
		return err
	}
	made, err := Backup(ctx, d, b, now)
	if err == nil {
		log(module.Info, "backup made", fieldsOf([]any{"database", d.Name, "file", made.Path, "bytes", made.Size, "seconds", time.Since(now).Seconds()})...)
	}
	return err
}

// stale is an error if the newest backup is older than it should be.
func (b *Backups) stale(now time.Time, newest Copy) error {
	if age := now.Sub(newest.Time); age > 2*b.Every {
		return fmt.Errorf("the newest backup is %v old, and one is to be made every %v: the housekeeper's log says why it is not",
			age.Truncate(time.Minute), b.Every)
	}
	return nil
}
