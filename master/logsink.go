package master

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

const (
	// sinkLimit is how many bytes of lines wait for a reader that does not take them; what comes
	// beyond is dropped and counted.
	sinkLimit = 4 << 20
	// flushBound is how long the end of the master waits for lines to be taken.
	flushBound = time.Second
	// logFileMode is of log and access log files.
	logFileMode = 0o640
)

// Formats of the log.
const (
	formatAuto  = "auto"
	formatHuman = "human"
	formatJSON  = "json"
)

// sink is where all lines of the tree end up: the server's log (the master's own lines, and those
// of the children as they are) and standard output (access logs). Any goroutine may use it; no
// call blocks.
type sink struct {
	log    *zap.Logger
	level  zap.AtomicLevel
	core   atomic.Pointer[zapcore.Core] // in the present format
	lines  *lineWriter
	stdout *lineWriter
	stderr io.Writer

	// Owner: the loop.
	format string // formatHuman or formatJSON
	path   string // of the log file; "": stderr
}

// newSink opens the log. The format "auto" is human on a terminal, else JSON.
func newSink(c configs.Log, stdout, stderr io.Writer) (*sink, error) {
	s := &sink{level: zap.NewAtomicLevel(), path: c.File, stderr: stderr}
	to := stderr
	if c.File != "" {
		f, err := openLog(c.File)
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		to = f
	}
	s.lines, s.stdout = newLineWriter(to), newLineWriter(stdout)
	s.lines.kept = stderr
	s.set(c, formatOn(c.Format, to))
	s.log = zap.New(&present{sink: s})
	return s, nil
}

// set takes level and format.
func (s *sink) set(c configs.Log, format string) {
	level := zapcore.InfoLevel
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration knows the levels; without one it is info
	s.level.SetLevel(level)
	s.format = format
	core := zapcore.NewCore(encoder(format), s.lines, s.level)
	s.core.Store(&core)
}

// apply makes the log what a new generation says. file is its file, opened anew; nil: stderr.
func (s *sink) apply(c configs.Log, file *os.File) {
	s.set(c, s.formatFor(c, file))
	if s.path = c.File; file != nil {
		s.lines.replace(file)
	} else {
		s.lines.replace(s.stderr)
	}
}

// formatFor is the format of a log in file; nil: stderr.
func (s *sink) formatFor(c configs.Log, file *os.File) string {
	if file == nil {
		return formatOn(c.Format, s.stderr)
	}
	return formatOn(c.Format, file)
}

// formatOn is what a configured format means on a writer.
func formatOn(format string, to io.Writer) string {
	switch {
	case format == formatHuman || format == formatJSON:
		return format
	case isTerminal(to):
		return formatHuman
	}
	return formatJSON
}

// present is the core of the log: it writes to the one that holds when a line is written.
type present struct {
	sink   *sink
	fields []zapcore.Field
}

func (p *present) Enabled(l zapcore.Level) bool { return p.sink.level.Enabled(l) }

func (p *present) With(fields []zapcore.Field) zapcore.Core {
	return &present{sink: p.sink, fields: slices.Concat(p.fields, fields)}
}

func (p *present) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if p.Enabled(e.Level) {
		return ce.AddCore(e, p)
	}
	return ce
}

func (p *present) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return (*p.sink.core.Load()).Write(e, slices.Concat(p.fields, fields))
}

func (p *present) Sync() error { return nil }

// encoder fixes the keys that every line of the tree has: time, level, msg.
func encoder(format string) zapcore.Encoder {
	c := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "msg", NameKey: "logger", StacktraceKey: "stack",
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeTime:     zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00"),
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	if format == formatJSON {
		return zapcore.NewJSONEncoder(c)
	}
	c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	c.ConsoleSeparator = "  "
	return zapcore.NewConsoleEncoder(c)
}

func openLog(path string) (*os.File, error) {
	// O_APPEND: whole lines in one write are never torn, whoever else writes (write(2)). O_NONBLOCK: a FIFO that nobody reads is an error, and
	// does not hold the master up until somebody does (fifo(7)).
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, logFileMode)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// write takes whole lines of a child as they are.
func (s *sink) write(m *control.Log) {
	to := s.lines
	if m.Stream == control.StreamStdout {
		to = s.stdout
	}
	_, _ = to.Write([]byte(m.Lines))
}

// reopen opens the log file anew after a rotation. On error the old one stays.
func (s *sink) reopen() error {
	if s.path == "" {
		return nil
	}
	f, err := openLog(s.path)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	s.lines.replace(f)
	return nil
}

func (s *sink) dropped() uint64 { return s.lines.droppedLines() + s.stdout.droppedLines() }

// close waits a bounded time until all lines are taken.
func (s *sink) close() {
	bound := time.Now().Add(flushBound)
	s.lines.close(bound)
	s.stdout.close(bound)
}

// lineWriter takes whole lines without blocking and lets one goroutine of its own write them, so
// that a reader that stands still (a stopped terminal, a full pipe) stops nobody.
type lineWriter struct {
	wake chan struct{} // capacity 1: something waits
	done chan struct{} // closed when the goroutine has ended

	to io.Writer // owner: run

	mu      sync.Mutex
	next    io.Writer // takes the place of to before the next batch
	kept    io.Writer // is never closed: stderr, stdout
	waiting []byte
	drops   uint64
	closed  bool
}

func newLineWriter(to io.Writer) *lineWriter {
	l := &lineWriter{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes p, one or more whole lines, or drops it whole. It never fails.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	if l.closed || len(l.waiting)+len(p) > sinkLimit {
		l.drops += uint64(bytes.Count(p, []byte{'\n'}))
	} else {
		l.waiting = append(l.waiting, p...)
		if n := len(p); n > 0 && p[n-1] != '\n' { // a child's half line must not join another's
			l.waiting = append(l.waiting, '\n')
		}
	}
	l.mu.Unlock()
	l.poke()
	return len(p), nil
}

// Sync does nothing: see close.
func (l *lineWriter) Sync() error { return nil }

func (l *lineWriter) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lineWriter) run() {
	defer close(l.done)
	var spare []byte
	for range l.wake {
		l.mu.Lock()
		batch, next, closed := l.waiting, l.next, l.closed
		l.waiting, l.next = spare[:0], nil
		l.mu.Unlock()
		if next != nil {
			if old, ok := l.to.(io.Closer); ok && l.to != l.kept {
				_ = old.Close()
			}
			l.to = next
		}
		if len(batch) > 0 {
			// There is nobody to tell of an error here; the lines after it are tried again.
			_, _ = l.to.Write(batch)
		}
		if spare = batch; cap(spare) > 64<<10 {
			spare = nil
		}
		if closed {
			return
		}
	}
}

// replace lets w follow the present file, which is closed.
func (l *lineWriter) replace(w io.Writer) {
	l.mu.Lock()
	if old, ok := l.next.(io.Closer); ok && l.next != l.kept {
		_ = old.Close()
	}
	l.next = w
	l.mu.Unlock()
	l.poke()
}

func (l *lineWriter) droppedLines() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drops
}

func (l *lineWriter) close(bound time.Time) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.poke()
	t := time.NewTimer(time.Until(bound))
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}
