package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/child/web"
)

// collected is how much of an answer is made before it is sent: what fits has a length, an entity tag and, for errors, a status of its own; what
// is longer is made as the client reads it. In bytes.
const collected = 64 << 10

// serveQuery answers a named query on a worker.
//
//  1. who asks is judged, then what format is wanted, then the parameters: each refuses in the problem's form;
//  2. a query that reads compares the client's entity tag with that of the present content, and runs only if they differ;
//  3. what it finds is sent whole or as a stream, and kept if it is small;
//  4. a query that writes runs in the writer's next transaction, and is answered when that is durable.
func (s *service) serveQuery(w *web.Response, r *web.Request, d *database, q *query, m *web.Match, below string) {
	if j := judge(q.access, r, false); j.answer != access.Granted {
		s.deny(w, r, &j)
		return
	}
	format, acceptable := wire.JSON, true
	if len(q.info.Columns) > 0 || q.byName {
		format, acceptable = wire.Choose(accept(r), formats...)
	}
	if !acceptable {
		s.refuse(w, r, engine.Errorf(engine.CodeNotAcceptable, "this can be had as application/json, application/x-ndjson or text/csv"))
		return
	}
	if q.method != http.MethodGet && !preflighted(r) && rawForeign(r) {
		s.refuse(w, r, engine.Errorf(engine.CodeDenied, "a page of another site sends this"))
		return
	}
	in, err := q.read(r, m)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	x := &exchange{service: s, w: w, r: r, database: d, query: q, input: in, format: format, below: below}
	if q.info.ReadOnly && !in.array {
		err = x.read()
	} else {
		err = x.write()
	}
	if s.databases[d.name] == nil && errors.Is(err, fs.ErrNotExist) { // a file of the directory that has gone
		s.found.forget(d.name)
		err = notFound(d.name)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

// preflighted reports whether a browser would have asked before it sent r for another site's page (https://fetch.spec.whatwg.org/#http-cors-protocol):
// the server has not said yes.
func preflighted(r *web.Request) bool {
	if r.Method != http.MethodPost {
		return true
	}
	switch r.MediaType() {
	case "", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain":
		return false
	}
	return true
}

// accept is the whole Accept field: several lines are one list (RFC 9110, 5.3).
func accept(r *web.Request) string {
	lines := r.Header.Values("Accept")
	if len(lines) == 0 {
		return ""
	}
	all := lines[0]
	for _, line := range lines[1:] {
		all += "," + line
	}
	return all
}

// An exchange is one request for a named query.
type exchange struct {
	*service
	w        *web.Response
	r        *web.Request
	database *database
	query    *query
	input    *input
	format   wire.Format
	below    string
}

// asks reports whether the request is one whose answer may be kept.
func (x *exchange) asks() bool { return x.r.Method == http.MethodGet || x.r.Method == http.MethodHead }

// read answers with what the statement finds. An error has touched nothing.
func (x *exchange) read() error {
	args := x.input.sets[0]
	if x.asks() && x.r.Header.Has("If-None-Match") {
		if tag, ok := x.database.engine.Tag(); ok && !x.query.info.Volatile && x.settled(x.w, x.r, x.etag(args, tag), x.query.control()) {
			return nil
		}
	}
	statement := x.query.statement
	statement.Args = args
	// The request's context ends with the handler, and a stream is read after that. Who leaves early closes the rows, and their time is bounded.
	rows, err := x.database.engine.Query(context.WithoutCancel(x.r.Context()), &engine.Query{
		Statement: statement, Policy: vetted, Limits: x.limits(), Wait: x.database.wait, Level: x.query.level,
	})
	if err != nil {
		return err
	}
	tag, tagged := rows.Tag()
	rows, options := x.paged(rows)
	e := x.query.encoder(x.format, rows.Columns(), options)
	content, over, err := wire.Collect(nil, rows, e, collected)
	if err != nil {
		return err
	}
	if over {
		defer x.query.encoders[x.format].Put(e)
	}
	if over && x.query.row == rowSingle && e.Rows() == 0 {
		return engine.Errorf(engine.CodeNotFound, "there is no such row")
	}
	h := x.w.Header()
	if p, ok := rows.(*page); ok && over && p.more {
		h.Set("Link", "<"+p.next(e)+`>; rel="next"`)
	}
	h.Set("Content-Type", x.format.ContentType())
	if !x.asks() {
		x.send(content, over, rows, e)
		return nil
	}
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", x.query.control())
	if !tagged || x.query.info.Volatile {
		x.send(content, over, rows, e)
		return nil
	}
	etag := x.etag(args, tag)
	h.Set("ETag", etag)
	if over {
		x.keep(tag, etag, content)
	}
	if x.settled(x.w, x.r, etag, x.query.control()) {
		rows.Close()
		return nil
	}
	x.send(content, over, rows, e)
	return nil
}

// limits are those of the statement, which reads one row more than a page has.
func (x *exchange) limits() engine.Limits {
	l := x.query.limits
	if x.query.page != nil {
		l.MaxRows = max(l.MaxRows, int64(x.query.page.most)) + 1
	}
	return l
}

// encoder returns an encoder for a result of q: one that knows the names of the columns, if there is one.
func (q *query) encoder(format wire.Format, columns []engine.Column, o wire.Options) *wire.Encoder {
	if e, ok := q.encoders[format].Get().(*wire.Encoder); ok {
		e.Reset(columns, o)
		return e
	}
	return wire.NewEncoder(format, columns, o)
}

// send sends what was collected, and what is still to be read.
func (x *exchange) send(content []byte, over bool, rows engine.Rows, e *wire.Encoder) {
	if over {
		x.w.SendBytes(content)
		return
	}
	x.w.SendReader(wire.Stream(rows, e, content), -1)
}

// control is the Cache-Control of answers to GET: by default a cache asks whether its copy is still right each time, and only the client's own
// cache keeps what not everybody may have.
func (q *query) control() string {
	switch {
	case q.cache != "":
		return q.cache
	case q.info.Volatile:
		return "no-store" // the same question has another answer in a moment
	case len(q.access) > 0:
		return "private, no-cache"
	}
	return "no-cache"
}

// etag is the entity tag of an answer from the content that tag stands for. Every child makes the same of the same.
func (x *exchange) etag(args []engine.Arg, tag engine.Tag) string {
	var buf [256]byte
	b := append(buf[:0], tag[:]...)
	b = append(b, byte(x.format))
	b = appendPart(b, x.database.name)
	b = append(b, x.query.print[:]...)
	for i := range args {
		b = append(b, byte(args[i].Kind))
		b = binary.LittleEndian.AppendUint64(b, uint64(args[i].Int))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(args[i].Real))
		b = appendPart(b, string(args[i].Bytes))
	}
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// appendPart appends a text so that where it ends is clear.
func appendPart(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// fingerprint stands for all of a query that its answers depend on.
func (q *query) fingerprint() [sha256.Size]byte {
	b := appendPart(nil, q.name)
	b = appendPart(b, q.statement.SQL)
	b = appendPart(b, string(q.row))
	if q.page != nil {
		b = appendPart(b, q.page.key)
	}
	for _, c := range q.info.Columns {
		b = appendPart(b, c.Name)
	}
	return sha256.Sum256(b)
}

// keep puts a small answer into the cache.
func (x *exchange) keep(tag engine.Tag, etag string, content []byte) {
	if int64(len(content)) > maxCached || x.r.Method != http.MethodGet {
		return
	}
	q := question{database: x.database.name, query: x.query.number, format: x.format, path: x.below, search: x.r.RawQuery}
	if !x.cache.admits(&q) {
		return
	}
	h := x.w.Header().Clone()
	x.cache.put(&answered{
		question: q, tag: tag, etag: etag, control: x.query.control(), reply: web.NewFixed(http.StatusOK, &h, content), size: int64(len(content)),
	})
}

// settled answers a request whose conditions decide it: the client has the content, or wants another one (RFC 9110, 13). Ranges of results are not
// on offer.
func (s *service) settled(w *web.Response, r *web.Request, etag, control string) bool {
	if !r.Header.Has("If-None-Match") && !r.Header.Has("If-Match") {
		return false
	}
	switch (&web.Representation{ETag: etag}).Evaluate(r).Status {
	case http.StatusNotModified:
		h := w.Header()
		h.Reset()
		h.Set("ETag", etag)
		h.Set("Cache-Control", control)
		h.Set("Vary", "Accept")
		w.SetStatus(http.StatusNotModified)
		return true
	case http.StatusPreconditionFailed:
		w.Header().Reset()
		web.Error(w, http.StatusPreconditionFailed)
		return true
	}
	return false
}

// paged bounds the rows of a query that has pages, and says how to write what is left.
func (x *exchange) paged(rows engine.Rows) (engine.Rows, wire.Options) {
	options := wire.Options{Single: x.query.row == rowSingle}
	if x.query.page == nil || x.input.limit == 0 {
		return rows, options
	}
	p := &page{Rows: rows, left: x.input.limit, exchange: x, key: -1}
	if key := x.query.page.key; key != "" {
		p.key = slices.IndexFunc(rows.Columns(), func(c engine.Column) bool { return c.Name == key })
		options.Last = 1 + p.key
	}
	options.End = func(e *wire.Encoder) []wire.Extra {
		if !p.more {
			return nil
		}
		return []wire.Extra{{Name: "next", Value: engine.TextOf(p.next(e))}}
	}
	return p, options
}

// A page is the rows of one page: the statement has been asked for one more, which tells whether there is a next page.
type page struct {
	engine.Rows
	exchange *exchange
	left     int64
	key      int // the column that tells where the next page begins; -1: none does
	more     bool
	err      error
}

func (p *page) Next() bool {
	if p.left > 0 {
		p.left--
		return p.Rows.Next()
	}
	if !p.more && p.err == nil {
		null := p.key >= 0 && p.Rows.Value(p.key).Kind == engine.Null
		if p.more = p.Rows.Next(); p.more && null {
			p.more, p.err = false, engine.Errorf(engine.CodeInternal, "the page ends with a row whose key is NULL, so that there is no way to the next one")
		}
	}
	return false
}

func (p *page) Err() error {
	if p.err != nil {
		return p.err
	}
	return p.Rows.Err()
}

// next is the reference of the next page, relative to the request's own (RFC 3986, 4.2): it holds behind any proxy.
func (p *page) next(e *wire.Encoder) string {
	x := p.exchange
	search, _ := url.ParseQuery(x.r.RawQuery) // it has been parsed before
	limit := x.input.limit
	if x.query.page.key != "" {
		search.Set("after", textOf(e.Last()))
	} else {
		search.Set("offset", strconv.FormatInt(x.offset()+limit, 10))
	}
	return "?" + search.Encode()
}

// offset is the value of :offset.
func (x *exchange) offset() int64 {
	for i := range x.query.params {
		if x.query.params[i].name == "offset" {
			return x.input.sets[0][i].Int
		}
	}
	return 0
}

// textOf writes a value as it stands in a URL.
func textOf(v engine.Value) string {
	switch v.Kind {
	case engine.Integer:
		return strconv.FormatInt(v.Int, 10)
	case engine.Real:
		return strconv.FormatFloat(v.Real, 'g', -1, 64)
	case engine.Blob:
		return base64.RawURLEncoding.EncodeToString(v.Bytes)
	}
	return string(v.Bytes)
}

// write runs the statement once for each set of arguments, all in one transaction.
func (x *exchange) write() error {
	if (*web.Representation)(nil).Evaluate(x.r).Status == http.StatusPreconditionFailed { // nothing that is written to has an entity tag
		return engine.Errorf(engine.CodePrecondition, "what is written to has no entity tag, so no condition on one holds")
	}
	statements := make([]engine.Statement, len(x.input.sets))
	for i, args := range x.input.sets {
		statements[i] = x.query.statement
		statements[i].Args = args
	}
	outcomes, err := x.database.engine.Execute(x.r.Context(), &engine.Batch{
		Statements: statements, Policy: vetted, Atomic: true, Limits: x.query.limits, Wait: x.database.wait, Idempotent: x.query.idempotent,
	})
	if err != nil {
		return x.whose(err, len(outcomes))
	}
	for i := range outcomes {
		if outcomes[i].Err != nil {
			return x.whose(outcomes[i].Err, i+1)
		}
	}
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	if x.input.array {
		h.Set("Content-Type", wire.JSON.ContentType())
		x.w.SendBytes(appendResults(nil, outcomes, x.query.row))
		return nil
	}
	o := &outcomes[0]
	if x.query.row == rowSingle && len(o.Columns) > 0 && len(o.Rows) == 0 {
		return engine.Errorf(engine.CodeNotFound, "there is no such row")
	}
	h.Set("Content-Type", x.format.ContentType())
	x.w.SendBytes(appendOutcome(nil, o, x.format, x.query.row))
	return nil
}

// whose says which set of an array an error is of; n counts the sets that were tried.
func (x *exchange) whose(err error, n int) error {
	if !x.input.array || n == 0 {
		return err
	}
	e := *engine.ErrorOf(err)
	e.Message = "set " + strconv.Itoa(n) + ": " + e.Message
	return &e
}

// appendOutcome appends what one statement did.
func appendOutcome(dst []byte, o *engine.Outcome, format wire.Format, row rowForm) []byte {
	if len(o.Columns) == 0 {
		dst = strconv.AppendInt(append(dst, `{"rows_affected":`...), o.RowsAffected, 10)
		return append(strconv.AppendInt(append(dst, `,"last_insert_id":`...), o.LastInsertID, 10), '}')
	}
	rows := wire.NewTable(o.Columns, o.Rows)
	e := wire.NewEncoder(format, o.Columns, wire.Options{Single: row == rowSingle, End: func(*wire.Encoder) []wire.Extra {
		return []wire.Extra{
			{Name: "rows_affected", Value: engine.IntegerOf(o.RowsAffected)}, {Name: "last_insert_id", Value: engine.IntegerOf(o.LastInsertID)},
		}
	}})
	dst, _, _ = wire.Collect(dst, rows, e, math.MaxInt) // what is in memory can be read
	return dst
}

// appendResults appends what an array of sets did.
func appendResults(dst []byte, outcomes []engine.Outcome, row rowForm) []byte {
	var affected int64
	dst = append(dst, `{"results":[`...)
	for i := range outcomes {
		if i > 0 {
			dst = append(dst, ',')
		}
		affected += outcomes[i].RowsAffected
		dst = appendOutcome(dst, &outcomes[i], wire.JSON, row)
	}
	dst = strconv.AppendInt(append(dst, `],"rows_affected":`...), affected, 10)
	return append(dst, '}')
}
