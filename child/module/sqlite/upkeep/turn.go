package upkeep

import (
	"context"
	"path/filepath"

	"github.com/tined/tined/child/module/sqlite/lite"
)

// tryLock takes the turn of a writer of the server, if nobody has it. ok is false if somebody has.
func tryLock(path string) (unlock func(), ok bool, err error) {
	t, err := lite.OpenTurnstile(path)
	if err != nil {
		return nil, false, &statementError{err}
	}
	if ok, err = t.TryLock(); err != nil || !ok {
		_ = t.Close() // nothing is held
		return nil, false, err
	}
	return func() { _ = t.Close() }, true, nil // closing unlocks, whatever it says
}

// lock waits for the turn of a writer of the server, among those that wait already. When ctx ends first the turn is given back as soon as it comes.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	t, err := lite.OpenTurnstile(path)
	if err != nil {
		return nil, &statementError{err}
	}
	done := make(chan error, 1)
	go func() { done <- t.Lock() }()
	select {
	case err := <-done:
		if err != nil {
			_ = t.Close() // nothing is held
			return nil, &statementError{err}
		}
		return func() { _ = t.Close() }, nil // closing unlocks, whatever it says
	case <-ctx.Done():
		go func() {
			<-done
			_ = t.Close()
		}()
		return nil, context.Cause(ctx)
	}
}

// resolved is the path without symbolic links, after which SQLite names the WAL, and the server the turnstile. A file that is not there has
// the path that is given.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
