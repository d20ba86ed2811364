package child

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/tined/tined/configs"
)

// logFiles are the writers of the access logs, one for each file, whatever generations and sites write to it. A writer is made when a
// generation that needs it is built, and closed with its file when no generation uses it any more. Any goroutine may call it.
type logFiles struct {
	journal *journal
	stdout  func(batch []byte) // the file "stdout" is the master

	mu      sync.Mutex
	open    map[string]*openLog
	dropped uint64 // lines, by writers that are closed
}

// openLog is the writer of a file.
type openLog struct {
	*logWriter
	file *logFile // nil: stdout
	uses int      // sites of generations
}

func newLogFiles(j *journal, stdout func([]byte)) *logFiles {
	return &logFiles{journal: j, stdout: stdout, open: make(map[string]*openLog)}
}

// use returns the writer of a file, for a site; leave gives it back. One that does not exist is made, of the file in offered, which is
// taken out of it.
func (l *logFiles) use(name string, offered map[string]*os.File) (*logWriter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return nil, errors.New("the child ends")
	}
	w := l.open[name]
	switch f := offered[name]; {
	case w != nil:
	case name == "stdout":
		w = &openLog{logWriter: newLogWriter(l.stdout)}
	case f == nil:
		return nil, fmt.Errorf("no file came for %s", name)
	default:
		delete(offered, name)
		file := &logFile{file: f, fail: func(err error) { l.journal.logLine(levelError, "access log", "file", name, "error", err) }}
		w = &openLog{logWriter: newLogWriter(file.write), file: file}
	}
	l.open[name] = w
	w.uses++
	return w.logWriter, nil
}

// leave gives a writer back to which nothing is given any more. The last one waits until everything is written.
func (l *logFiles) leave(name string, writer *logWriter) {
	l.mu.Lock()
	w := l.open[name]
	if w == nil || w.logWriter != writer { // all were closed
		l.mu.Unlock()
		return
	}
	if w.uses--; w.uses > 0 {
		l.mu.Unlock()
		return
	}
	delete(l.open, name)
	l.dropped += w.dropped.Load()
	l.mu.Unlock()
	w.shut()
}

// replace lets the writers write to other files from now on, and closes those that nobody writes to.
func (l *logFiles) replace(files map[string]*os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range files {
		if w := l.open[name]; w != nil && w.file != nil {
			w.file.replace(f)
		} else {
			_ = f.Close() // nothing was written to it
		}
	}
}

// lost is how many lines were dropped because their writers did not keep up.
func (l *logFiles) lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.dropped
	for _, w := range l.open {
		lines += w.dropped.Load()
	}
	return lines
}

// close closes all writers when they have written what they have. Nothing may be given to them any more.
func (l *logFiles) close() {
	l.mu.Lock()
	open := l.open
	l.open = nil
	for _, w := range open {
		l.dropped += w.dropped.Load()
	}
	l.mu.Unlock()
	for _, w := range open {
		w.shut()
	}
}

func (w *openLog) shut() {
	w.close()
	if w.file != nil {
		w.file.close()
	}
}

// A logFile is the file behind a writer. It can be replaced at any moment without waiting for a disk that hangs: a file that is being
// written to is closed by who writes.
type logFile struct {
	fail func(error)

	mu      sync.Mutex
	file    *os.File
	writing bool
}

func (l *logFile) write(batch []byte) {
	l.mu.Lock()
	f := l.file
	l.writing = true
	l.mu.Unlock()
	_, err := f.Write(batch)
	l.mu.Lock()
	l.writing = false
	if l.file != f {
		_ = f.Close() // what was written is with the system; an error of that was reported by the write
	}
	l.mu.Unlock()
	if err != nil {
		l.fail(err)
	}
}

func (l *logFile) replace(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.writing {
		_ = l.file.Close() // as in write
	}
	l.file = f
}

// close closes the file. Nobody writes any more.
func (l *logFile) close() {
	if err := l.file.Close(); err != nil {
		l.fail(err)
	}
}

// named returns files by their names.
func named(names []string, files []*os.File) map[string]*os.File {
	byName := make(map[string]*os.File, len(names))
	for i, name := range names {
		if before := byName[name]; before != nil {
			_ = before.Close() // nothing was written to it
		}
		byName[name] = files[i]
	}
	return byName
}

func closeNamed(files map[string]*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written to it
	}
}

// reopenLogs lets the writers go on with other files. A generation that was prepared with older ones must not bring them back.
func (ch *child) reopenLogs(names []string, files []*os.File) {
	if len(names) != len(files) {
		closeFiles(files)
		return
	}
	newer := named(names, files)
	ch.mu.Lock()
	if g := ch.prepared; g != nil {
		for name := range newer {
			if older := g.files[name]; older != nil {
				_ = older.Close() // nothing was written to it
				delete(g.files, name)
			}
		}
	}
	ch.mu.Unlock()
	ch.logs.replace(newer)
}

// accessLog opens the access log of a site.
func (ch *child) accessLog(site string, c *configs.AccessLog) (*accessLog, error) {
	writer, err := ch.logs.use(c.File, ch.offered)
	if err != nil {
		return nil, err
	}
	return &accessLog{
		site: site, child: ch.index, json: c.Format == "json", common: c.Format == "common", writer: writer,
		close: func() { ch.logs.leave(c.File, writer) },
	}, nil
}

func (ch *child) droppedAccess() uint64 { return ch.logs.lost() }
