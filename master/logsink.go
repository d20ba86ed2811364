package master

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
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
	format string // formatHuman or formatJSON
	lines  *lineWriter
	stdout *lineWriter
	path   string // of the log file; "": stderr
}

// newSink opens the log. The format "auto" is human on a terminal, else JSON.
func newSink(c configs.Log, stdout, stderr io.Writer) (*sink, error) {
	s := &sink{format: c.Format, path: c.File}
	to := stderr
	if c.File != "" {
		f, err := openLog(c.File)
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		to = f
	}
	if s.format != formatHuman && s.format != formatJSON {
		s.format = formatJSON
		if isTerminal(to) {
			s.format = formatHuman
		}
	}
	var level zapcore.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = zapcore.InfoLevel
	}
	s.lines, s.stdout = newLineWriter(to), newLineWriter(stdout)
	s.log = zap.New(zapcore.NewCore(encoder(s.format), s.lines, level))
	return s, nil
}

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
	// O_APPEND: whole lines in one write are never torn, whoever else writes (write(2)).
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, logFileMode)
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
	next    *os.File // takes the place of to before the next batch
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
			if old, ok := l.to.(io.Closer); ok {
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

// replace lets f follow the present file, which is closed.
func (l *lineWriter) replace(f *os.File) {
	l.mu.Lock()
	if l.next != nil {
		_ = l.next.Close()
	}
	l.next = f
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
