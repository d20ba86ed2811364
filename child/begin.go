package child

import (
	"strings"
	"unsafe"

	"github.com/tined/tined/child/http1"
	"github.com/tined/tined/child/web"
)

// noSite is the site of a request that none was found for.
const noSite = -1

// refuse answers a request whose head or body is malformed or over a limit, after all earlier answers, and closes gently.
func (l *loop) refuse(c *conn, ex *exchange, err error) {
	ex.minor = 1
	ex.keepAlive = false
	ex.head = ex.parser.Head.MethodID == http1.MethodHead // known as soon as the method is (RFC 9110, 9.3.2)
	if ex.state == WaitingForHead {
		l.join(c, ex)
		l.count(c, ex)
		ex.safe = true
		c.pipeline.begin(ex)
		ex.setState(BeingProcessed)
		l.beginLog(c, ex)
	} else if ex.state == WaitingForBody {
		ex.ready = l.now
		ex.setState(BeingProcessed)
	}
	web.Begin(&ex.resp, ex)
	web.Error(&ex.resp, statusOf(err))
	l.stopParsing(c, reasonRefused)
	l.finish(c, ex)
	l.advance(c)
}

// stopParsing makes the pending exchanges the connection's last, for a reason other than that an end was agreed: the client may still
// be sending, so the close lingers.
func (l *loop) stopParsing(c *conn, why closeReason) {
	c.why = why
	c.set(flagNoMore | flagLinger)
}

// sideBySide reports whether a request may run while others of its connection do: safe methods (RFC 9112, 9.3.2), but not those of
// HTTP/1.0, whose answers may have to end with the connection.
func sideBySide(head *http1.Head) bool { return head.MethodID.Safe() && head.Minor > 0 }

// join gives ex its connection and generation.
func (l *loop) join(c *conn, ex *exchange) {
	ex.fd, ex.serial = c.fd, c.serial
	ex.peer, ex.entry = c.peer, c.entry
	ex.started, ex.ready, ex.latency = l.now, l.now, 0
	ex.site = noSite
	ex.bodySent, ex.first = 0, 0
	ex.gen = l.generationFor(c)
	ex.gen.enter()
	c.exchanges++
}

// begin takes a request whose head is complete. buf is the head, in memory that lives until the connection's turn ends.
func (l *loop) begin(c *conn, ex *exchange, buf []byte) {
	head := &ex.parser.Head
	l.join(c, ex)
	l.count(c, ex)
	ex.minor = head.Minor
	ex.safe = sideBySide(head)
	ex.head = head.MethodID == http1.MethodHead
	ex.keepAlive = head.KeepAlive
	ex.expected = head.Expect == http1.ExpectContinue && head.HasBody()
	if !ex.keepAlive || c.exchanges >= l.limits(c).exchanges {
		c.set(flagNoMore)
	}
	first := c.pipeline.head() == nil
	c.pipeline.begin(ex)
	web.Begin(&ex.resp, ex)

	view := unsafe.String(unsafe.SliceData(buf), len(buf))
	l.view = view
	rt := l.route(c, ex, view)
	hasBody := head.HasBody()

	// A handler that cannot block answers here and now, on strings that point into the buffer. Its answer is encoded before the
	// buffer is used again, which holds only if no earlier answer is missing.
	if first && !hasBody && (rt == nil || rt.nonBlocking != nil) {
		l.fill(c, ex, view)
		l.beginLog(c, ex)
		if rt == nil {
			l.answerNow(c, ex)
			return
		}
		if l.serveNow(rt, ex) {
			l.answerNow(c, ex)
			return
		}
		web.Begin(&ex.resp, ex)
	}
	l.fill(c, ex, string(buf))
	if !first || hasBody || rt == nil || rt.nonBlocking == nil {
		l.beginLog(c, ex)
	}
	if !hasBody {
		if rt == nil {
			l.answerNow(c, ex)
			return
		}
		l.dispatch(c, ex)
		return
	}
	switch {
	case head.ContentLength > l.bodyLimit(ex):
		l.answerStatus(c, ex, 413)
	case rt == nil && (ex.expected || head.Expect == http1.ExpectUnknown):
		ex.keepAlive = false // whether the body comes is the client's choice: it cannot be told from a next request
		l.stopParsing(c, reasonBodyUnread)
		l.answerNow(c, ex)
	default:
		l.startBody(c, ex)
	}
}

// answerNow finishes an exchange whose response is complete, on the loop.
func (l *loop) answerNow(c *conn, ex *exchange) {
	ex.setState(BeingProcessed)
	l.finish(c, ex)
	l.advance(c)
}

// answerStatus refuses a request whose body will not be read: the connection closes behind the answer.
func (l *loop) answerStatus(c *conn, ex *exchange, status int) {
	ex.setState(BeingProcessed)
	ex.keepAlive = false
	web.Begin(&ex.resp, ex)
	web.Error(&ex.resp, status)
	l.stopParsing(c, reasonRefused)
	l.finish(c, ex)
	l.advance(c)
}

// serveNow runs a non-blocking handler; a panic in it is a 500.
func (l *loop) serveNow(rt *route, ex *exchange) (answered bool) {
	defer func() {
		if v := recover(); v != nil {
			ex.recovered(v)
			answered = true
		}
		if ex.cancel != nil || ex.stream != nil {
			ex.endOfHandler()
			ex.begunStream = ex.stream != nil
		}
		ex.pushing, ex.informing = ex.push != nil, len(ex.informs) > 0
	}()
	return rt.nonBlocking.ServeNow(&ex.resp, &ex.req)
}

// route finds the handler of a request. nil: there is none, and ex.resp holds the answer. view are the head's bytes.
func (l *loop) route(c *conn, ex *exchange, view string) *route {
	head := &ex.parser.Head
	gen := ex.gen
	w := &ex.resp
	l.match.Params = l.match.Params[:0]
	if c.role == roleSelf {
		w.SendString(gen.selfAnswer)
		return nil
	}
	switch head.MethodID {
	case http1.MethodOther, http1.MethodTrace, http1.MethodConnect:
		if !gen.table.Names(head.Method.Of(view)) || head.Form == http1.AuthorityForm {
			web.Error(w, 501)
			return nil
		}
	}
	if head.Expect == http1.ExpectUnknown {
		web.Error(w, 417)
		return nil
	}
	if head.Form == http1.AsteriskForm {
		w.Header().Set("Allow", gen.allow) // with a 200: RFC 7231, 4.3.7 wants the Content-Length of 0 that a 204 must not have
		return nil
	}
	if head.Form == http1.AbsoluteForm && head.Target.Of(view)[len("http")]|0x20 == 's' {
		web.Error(w, 421) // RFC 9110, 7.4: https without TLS must be rejected
		return nil
	}
	rt, site, result := gen.table.Lookup(c.listener.index, head.Host.Of(view), head.Method.Of(view), head.Path.Of(view), &l.match)
	ex.site = site
	if result == web.Found {
		ex.route = rt
		return rt
	}
	ex.req.Method, ex.req.RawQuery = head.Method.Of(view), head.Query.Of(view)
	l.match.Location = strings.Clone(l.match.Location) // the answer may have to wait longer than the buffer stays
	web.Refuse(w, &ex.req, result, &l.match)
	return nil
}

// fill makes the handler's view of the request from base, the head's bytes as a string.
func (l *loop) fill(c *conn, ex *exchange, base string) {
	head := &ex.parser.Head
	r := &ex.req
	web.Accept(r, ex)
	if head.MethodID != http1.MethodOther {
		r.Method = head.MethodID.String()
	} else {
		r.Method = head.Method.Of(base)
	}
	r.Target = head.Target.Of(base)
	r.RawPath = head.Path.Of(base)
	r.Path = r.RawPath
	if head.HasEscape {
		r.Path = unescape(r.RawPath)
	}
	r.RawQuery = head.Query.Of(base)
	r.Host = head.Host.Of(base)
	r.Minor = int(head.Minor)
	for i := range head.Fields {
		f := &head.Fields[i]
		web.AddField(r, f.Name.Of(base), f.Value.Of(base))
	}
	r.RemoteAddr, r.Scheme = c.peer, schemeHTTP
	if c.entry != nil || c.listener.proxies != nil {
		c.identify(r)
	}
	if ex.route != nil {
		web.SetPattern(r, l.match.Pattern)
	}
	if len(l.match.Params) > 0 {
		web.SetParams(r, rebase(l.match.Params, l.view, base))
	}
}

// rebase points values that were cut from view into base, which holds the same bytes. Those that were unescaped have memory of their own.
func rebase(params []web.Param, view, base string) []web.Param {
	start := uintptr(unsafe.Pointer(unsafe.StringData(view)))
	for i := range params {
		value := params[i].Value
		off := uintptr(unsafe.Pointer(unsafe.StringData(value))) - start
		if value != "" && off < uintptr(len(view)) {
			params[i].Value = base[off : off+uintptr(len(value))]
		}
	}
	return params
}

// unescape decodes the percent-encoding of a path, which the parser has found valid.
func unescape(path string) string {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		b := path[i]
		if b == '%' {
			b = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
		}
		out = append(out, b)
	}
	return string(out)
}

func unhex(b byte) byte {
	switch {
	case b >= 'a':
		return b - 'a' + 10
	case b >= 'A':
		return b - 'A' + 10
	}
	return b - '0'
}

// dispatch gives the exchange to its pool. Nothing may be answered for ever: a full queue is a 503 at once.
func (l *loop) dispatch(c *conn, ex *exchange) {
	ex.setState(BeingProcessed)
	rt := ex.route
	if rt == nil { // the answer is there; only the body had to be received
		l.finish(c, ex)
		l.advance(c)
		return
	}
	if rt.nonBlocking != nil && ex.body == nil && l.serveNow(rt, ex) {
		l.finish(c, ex)
		l.advance(c)
		return
	}
	ex.from = l.now
	if l.submit(ex) {
		return
	}
	l.overloaded(ex)
	l.finish(c, ex)
	l.advance(c)
}

// supplant answers in the place of an exchange whose handler does not come back, or must not answer any more. The handler is told
// that its client has gone; the connection closes behind the answer.
func (l *loop) supplant(c *conn, ex *exchange, status int) {
	substitute := l.takeExchange()
	l.join(c, substitute)
	substitute.gen.leave() // it stands for ex in its access log too, whose site is one of the generation that ex began with
	substitute.gen = ex.gen
	substitute.gen.enter()
	c.exchanges--
	substitute.counted, ex.counted = ex.counted, false
	substitute.minor, substitute.head, substitute.safe = ex.minor, ex.head, ex.safe
	substitute.keepAlive = false
	substitute.sequence, substitute.started, substitute.ready = ex.sequence, ex.started, ex.ready
	substitute.site = ex.site
	substitute.logged = append(substitute.logged, ex.logged...)
	ex.logged = ex.logged[:0]
	if !c.pipeline.pending.replace(ex, substitute) {
		l.recycle(substitute)
		return
	}
	substitute.setState(BeingProcessed)
	web.Begin(&substitute.resp, substitute)
	if status == 503 {
		substitute.resp.Header().Set("Retry-After", "1")
	}
	web.Error(&substitute.resp, status)
	l.finish(c, substitute)
	l.desert(c, ex, reasonNone)
	l.advance(c)
}
