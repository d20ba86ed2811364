package child

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore/control"
)

// Levels of logLine, as zap has them.
const (
	levelDebug = int(zapcore.DebugLevel)
	levelInfo  = int(zapcore.InfoLevel)
	levelWarn  = int(zapcore.WarnLevel)
	levelError = int(zapcore.ErrorLevel)
)

// ringMax is how many bytes of log lines of a stream wait while there is no master, or one that does not take them; what comes beyond is
// dropped and counted.
const ringMax = 1 << 20

// A masterSink carries encoded lines to the master, whose log they join. Nobody who writes a line ever waits: lines queue up to a bound,
// and a goroutine sends them. While there is no master they stay in the queue.
type masterSink struct {
	link    *link
	dropped atomic.Uint64

	mu      sync.Mutex
	cond    sync.Cond
	waiting [2][]byte // whole lines, by stream
	closed  bool
	done    chan struct{}
}

var streams = [...]string{control.StreamLog, control.StreamStdout}

func newMasterSink(l *link) *masterSink {
	s := &masterSink{link: l, done: make(chan struct{})}
	s.cond.L = &s.mu
	l.wake = s.wake
	go s.send()
	return s
}

// wake lets the goroutine look for a master again.
func (s *masterSink) wake() {
	s.mu.Lock()
	s.cond.Signal()
	s.mu.Unlock()
}

// put queues whole lines for a stream.
func (s *masterSink) put(stream int, lines []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.waiting[stream])+len(lines) > ringMax {
		s.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
		return
	}
	s.waiting[stream] = append(s.waiting[stream], lines...)
	s.cond.Signal()
}

// Write implements zapcore.WriteSyncer.
func (s *masterSink) Write(line []byte) (int, error) {
	s.put(0, line)
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer.
func (s *masterSink) Sync() error { return nil }

func (s *masterSink) send() {
	defer close(s.done)
	var told uint64
	var gone *control.Conn // a master that is dead, as a send has found
	for {
		s.mu.Lock()
		conn := s.link.get()
		for !s.closed && (len(s.waiting[0])+len(s.waiting[1]) == 0 || conn == nil || conn == gone) {
			s.cond.Wait()
			conn = s.link.get()
		}
		taken := s.waiting
		s.waiting = [2][]byte{}
		closed := s.closed
		s.mu.Unlock()
		for stream, lines := range taken {
			rest, err := sendLines(conn, streams[stream], lines)
			if err != nil && masterGone(err) && !closed {
				gone = conn
				s.putBack(stream, rest)
				continue
			}
			s.dropped.Add(uint64(bytes.Count(rest, []byte{'\n'})))
		}
		if dropped := s.dropped.Load(); dropped != told && conn != nil && conn != gone {
			if conn.Send(&control.LogDropped{Count: dropped - told}) == nil {
				told = dropped
			}
		}
		if closed {
			return
		}
	}
}

// sendLines sends lines, as many as one message carries at a time. What could not be sent is returned with the error that ended it: with a
// master that does not read, the lines of one message are lost and the others are tried.
func sendLines(conn *control.Conn, stream string, lines []byte) (rest []byte, err error) {
	if conn == nil {
		return lines, os.ErrClosed
	}
	for len(lines) > 0 {
		piece := wholeLines(lines)
		if err = conn.Send(&control.Log{Stream: stream, Lines: string(piece)}); err != nil {
			if masterGone(err) {
				return append(rest, lines...), err
			}
			rest = append(rest, piece...)
		}
		lines = lines[len(piece):]
	}
	return rest, err
}

// putBack queues lines before those that have come since.
func (s *masterSink) putBack(stream int, lines []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[stream] = append(lines, s.waiting[stream]...)
	for len(s.waiting[stream]) > ringMax { // the newest go, as they do when they find no room
		whole := s.waiting[stream][:ringMax]
		keep := bytes.LastIndexByte(whole, '\n') + 1
		s.dropped.Add(uint64(bytes.Count(s.waiting[stream][keep:], []byte{'\n'})))
		s.waiting[stream] = s.waiting[stream][:keep]
	}
}

// close sends what waits, if there is a master, and ends the goroutine. Send is bounded in time, so this is.
func (s *masterSink) close() {
	s.mu.Lock()
	s.closed = true
	s.cond.Signal()
	s.mu.Unlock()
	<-s.done
}

// wholeLines cuts lines to what one message carries, at the end of a line where there is one.
func wholeLines(lines []byte) []byte {
	if len(lines) <= control.MaxLines {
		return lines
	}
	if end := bytes.LastIndexByte(lines[:control.MaxLines], '\n'); end >= 0 {
		return lines[:end+1]
	}
	return lines[:control.MaxLines]
}

// newLogger makes the child's logger: the master's keys and format, and the child's number, which may be control.Housekeeper.
func newLogger(format, level string, sink zapcore.WriteSyncer, child int) *zap.Logger {
	c := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "msg", NameKey: "logger", StacktraceKey: "stack",
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeTime:     zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00"),
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	encoder := zapcore.NewJSONEncoder(c)
	if format == "human" {
		c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		c.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(c)
	}
	var least zapcore.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = zapcore.InfoLevel
	}
	who := zap.Int("child", child)
	if child == control.Housekeeper {
		who = zap.String("process", control.RoleHousekeeper)
	}
	return zap.New(zapcore.NewCore(encoder, sink, least)).With(who)
}

// journal is the child's log as its parts see it. The logger is replaced when a generation changes its level.
type journal struct{ logger atomic.Pointer[zap.Logger] }

func (j *journal) logLine(level int, message string, keysAndValues ...any) {
	j.logger.Load().Sugar().Logw(zapcore.Level(level), message, keysAndValues...)
}

// logPanic reports a handler's panic with its request. The stack is on the line, so that a line is a whole.
func (j *journal) logPanic(r *web.Request, value any, stack []byte) {
	j.logLine(levelError, "a handler panicked", "panic", fmt.Sprint(value), "method", r.Method, "target", r.Target, "host", r.Host,
		"stack", string(stack))
}

// logModule is what modules log with.
func (j *journal) logModule(level module.Level, message string, fields ...module.Field) {
	kv := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		kv = append(kv, f.Key, f.Value)
	}
	j.logLine(int(level), message, kv...)
}
