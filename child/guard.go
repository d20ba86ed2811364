package child

import "github.com/tined/tined/child/web"

// Substitute implements web.Substituter. The exchange is named, not pointed to: when the function is called its memory may serve another
// request.
func (ex *exchange) Substitute(status int) func() {
	l, fd, serial, sequence := ex.loop, ex.fd, ex.serial, ex.sequence
	return func() {
		l.call(func() { l.substitute(fd, serial, sequence, status) })
	}
}

// LogPanic implements web.PanicLogger.
func (ex *exchange) LogPanic(r *web.Request, v any, stack []byte) { ex.loop.logPanic(r, v, stack) }

// substitute answers an exchange whose handler runs for too long.
func (l *loop) substitute(fd int32, serial, sequence uint32, status int) {
	c := l.table.Get(int(fd), serial)
	if c == nil {
		return
	}
	ex := c.pipeline.find(sequence)
	if ex == nil || !ex.dispatch || ex.hasBegun() {
		return
	}
	l.stopParsing(c, reasonHandlerTimeout)
	ex.keepAlive = false
	l.supplant(c, ex, status)
	if c.has(flagClosed) {
		return
	}
	if c.out != nil && c.has(flagWritable) {
		l.flush(c)
	}
	l.settle(c)
}

// hasBegun reports whether the handler has begun to stream its answer; the loop may not know it yet.
func (ex *exchange) hasBegun() bool {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	return ex.begunStream || ex.stream != nil || ex.push != nil
}
