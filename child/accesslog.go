package child

import (
	"bytes"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/web"
)

const (
	// accessBatch is how many bytes of lines are collected before they are handed to the writer, if the loop does not rest before.
	accessBatch = 32 << 10
	// accessQueue is how many batches wait for a writer that does not keep up; beyond it lines are dropped and counted.
	accessQueue = 64
	// statusGone is logged for an exchange whose client had gone before its answer was complete, as nginx does.
	statusGone = 499
	// statusDetached is logged for an exchange whose handler has taken the connection: what it writes there is not seen.
	statusDetached = 101
)

// A logWriter writes batches of whole lines, each in one call, so that the lines of several processes are never torn: a regular file
// opened with O_APPEND (write(2)), or the master. It has a goroutine of its own: a slow disk stops neither loop nor handlers.
type logWriter struct {
	batches chan []byte
	free    chan []byte   // written batches, to be filled again
	dropped atomic.Uint64 // lines
	write   func([]byte)
	done    chan struct{}
}

func newLogWriter(write func([]byte)) *logWriter {
	w := &logWriter{batches: make(chan []byte, accessQueue), free: make(chan []byte, 2), write: write, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for b := range w.batches {
			w.write(b)
			select {
			case w.free <- b[:0]:
			default:
			}
		}
	}()
	return w
}

// give hands a batch over, or drops it when too many wait.
func (w *logWriter) give(batch []byte) {
	select {
	case w.batches <- batch:
	default:
		w.dropped.Add(uint64(bytes.Count(batch, []byte{'\n'})))
	}
}

// take returns an empty batch.
func (w *logWriter) take() []byte {
	select {
	case b := <-w.free:
		return b
	default:
		return make([]byte, 0, accessBatch+4096)
	}
}

// close waits until everything is written. Nothing may be given any more.
func (w *logWriter) close() {
	close(w.batches)
	<-w.done
}

// An accessLog formats the lines of one site; it is the loop's.
type accessLog struct {
	site   string
	child  int
	json   bool
	common bool // without referrer and user agent
	writer *logWriter
	close  func() // gives the writer back; nil: nothing to do
	batch  []byte
	second int64
	stamp  []byte // the time of second, formatted

	retired bool // its generation is: flushed with the loop's lateLogs
}

// keep stores what a line needs of the request, which may be gone when the line is written: '\n' cannot be in any of it.
func (a *accessLog) keep(dst []byte, r *web.Request) []byte {
	dst = append(appendClient(dst, r.RemoteAddr.Addr()), '\n')
	for _, s := range [...]string{r.Method, r.Target, r.Proto(), r.Host, r.Header.Get("Referer"), r.Header.Get("User-Agent")} {
		dst = append(dst, s...)
		dst = append(dst, '\n')
	}
	return dst
}

// keptFields are what keep has stored.
type keptFields struct{ remote, method, target, proto, host, referer, agent []byte }

func keptOf(kept []byte) (k keptFields) {
	for _, field := range [...]*[]byte{&k.remote, &k.method, &k.target, &k.proto, &k.host, &k.referer, &k.agent} {
		*field, kept, _ = bytes.Cut(kept, []byte{'\n'})
	}
	return k
}

// beginLog keeps what the access log will need, if the site has one.
func (l *loop) beginLog(c *conn, ex *exchange) {
	if ex.site == noSite || c.role == roleSelf {
		return
	}
	if log := ex.gen.sites[ex.site].log; log != nil {
		ex.logged = log.keep(ex.logged[:0], &ex.req)
	}
}

// logAccess writes the line of an exchange that is over.
func (l *loop) logAccess(c *conn, ex *exchange, why closeReason) {
	if len(ex.logged) == 0 {
		return
	}
	status, sent := ex.status(), int64(0)
	if why == reasonDetached {
		status = statusDetached
	}
	switch begun := ex.begun || ex.state >= WaitingToSendHead; {
	case why == reasonNone:
		sent = ex.bodySent
	case begun && c.sent > ex.first:
		sent = int64(c.sent - ex.first)
	}
	r := l.recordOf(ex)
	l.logRecord(&r, status, sent, why)
	ex.logged = ex.logged[:0]
}

// status is that of the response as far as there is one.
func (ex *exchange) status() int {
	switch {
	case ex.pushing && ex.begun:
		return ex.push.status
	case ex.begunStream:
		return ex.stream.status
	case ex.finished: // before that, the response is the handler's
		return ex.resp.Status()
	}
	return statusGone
}

// A record is what a line of the access log needs of an exchange that is over before its response.
type record struct {
	log     *accessLog // nil: the exchange is not logged
	kept    []byte
	started int64
}

func (l *loop) recordOf(ex *exchange) record {
	if len(ex.logged) == 0 {
		return record{}
	}
	return record{ex.gen.sites[ex.site].log, ex.logged, ex.started}
}

// logRecord writes a line.
func (l *loop) logRecord(r *record, status int, sent int64, why closeReason) {
	log := r.log
	if log == nil {
		return
	}
	begun := len(log.batch) > 0
	log.line(keptOf(r.kept), l.second, status, sent, l.now-r.started, why)
	switch {
	case len(log.batch) >= accessBatch:
		log.flush()
	case log.retired && !begun:
		l.lateLogs = append(l.lateLogs, log)
	}
}

// flushLogs hands on the lines of all logs. It is called when the loop rests.
func (l *loop) flushLogs() {
	if l.generation != nil {
		l.generation.flushLogs()
	}
	for i, log := range l.lateLogs {
		log.flush()
		l.lateLogs[i] = nil
	}
	l.lateLogs = l.lateLogs[:0]
}

// flush hands the collected lines to the writer.
func (a *accessLog) flush() {
	if len(a.batch) > 0 {
		a.writer.give(a.batch)
		a.batch = nil
	}
}

// line appends one line.
func (a *accessLog) line(k keptFields, second int64, status int, sent, took int64, why closeReason) {
	if a.batch == nil {
		a.batch = a.writer.take()
	}
	if a.second != second {
		a.second = second
		if a.json {
			a.stamp = time.Unix(second, 0).AppendFormat(a.stamp[:0], time.RFC3339)
		} else {
			a.stamp = time.Unix(second, 0).AppendFormat(a.stamp[:0], "02/Jan/2006:15:04:05 -0700")
		}
	}
	b := a.batch
	if a.json {
		b = append(append(append(b, `{"time":"`...), a.stamp...), `","site":`...)
		b = appendJSON(b, []byte(a.site))
		b = strconv.AppendInt(append(b, `,"child":`...), int64(a.child), 10)
		b = appendJSON(append(b, `,"remote":`...), k.remote)
		b = appendJSON(append(b, `,"method":`...), k.method)
		b = appendJSON(append(b, `,"host":`...), k.host)
		b = appendJSON(append(b, `,"target":`...), k.target)
		b = appendJSON(append(b, `,"proto":`...), k.proto)
		b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
		b = strconv.AppendInt(append(b, `,"bytes":`...), sent, 10)
		b = strconv.AppendFloat(append(b, `,"duration_ms":`...), float64(took)/1e6, 'f', 3, 64)
		b = appendJSON(append(b, `,"referer":`...), k.referer)
		b = appendJSON(append(b, `,"user_agent":`...), k.agent)
		if why != reasonNone {
			b = append(append(append(b, `,"closed":"`...), why.String()...), '"')
		}
		a.batch = append(b, "}\n"...)
		return
	}
	b = append(b, k.remote...)
	b = append(append(append(b, " - - ["...), a.stamp...), `] "`...)
	b = appendQuoted(b, k.method)
	b = append(b, ' ')
	b = appendQuoted(b, k.target)
	b = append(b, ' ')
	b = append(append(b, k.proto...), `" `...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, sent, 10)
	if a.common {
		a.batch = append(b, '\n')
		return
	}
	b = appendOrDash(append(b, ` "`...), k.referer)
	b = appendOrDash(append(b, `" "`...), k.agent)
	a.batch = append(b, "\"\n"...)
}

func appendClient(b []byte, client netip.Addr) []byte {
	if !client.IsValid() {
		return append(b, "unix"...)
	}
	return client.AppendTo(b)
}

func appendOrDash(b, value []byte) []byte {
	if len(value) == 0 {
		return append(b, '-')
	}
	return appendQuoted(b, value)
}

const hexDigits = "0123456789abcdef"

// appendQuoted writes what a client has sent between quotes: the quote, the backslash and whatever is not visible ASCII as \xHH, so
// that no client can forge a line or a terminal sequence.
func appendQuoted(b, value []byte) []byte {
	for _, v := range value {
		if v < ' ' || v >= 0x7f || v == '"' || v == '\\' {
			b = append(b, '\\', 'x', hexDigits[v>>4], hexDigits[v&15])
			continue
		}
		b = append(b, v)
	}
	return b
}

// appendJSON writes a JSON string; bytes that are not ASCII are written as the code points of Latin-1, so that the line is valid
// whatever the client has sent.
func appendJSON(b, value []byte) []byte {
	b = append(b, '"')
	for _, v := range value {
		switch {
		case v == '"' || v == '\\':
			b = append(b, '\\', v)
		case v < ' ' || v >= 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[v>>4], hexDigits[v&15])
		default:
			b = append(b, v)
		}
	}
	return append(b, '"')
}
