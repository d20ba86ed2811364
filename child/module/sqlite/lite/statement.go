package lite

import (
	"slices"
	"strings"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A statement is compiled SQL.
type statement struct {
	key      statementKey
	stmt     uintptr // *sqlite3_stmt
	readOnly bool
	names    []string // of the parameters, by number from 1, without the first character; "" for '?' and '?5'
	bound    []bool   // by the same numbers
	columns  []engine.Column
	compiled int32 // how often SQLite has compiled it anew, when columns was made

	replaces bool // rows, which the authorizer is not asked about: see replacesRows
	costly   bool // it calls one of costlyFunctions
	asksLast bool // it, or a trigger of it, may call last_insert_rowid()

	kept, running bool
	older, newer  *statement // in the cache
}

// A statementKey is what a kept statement is found by: the authorizer would have answered another policy otherwise.
type statementKey struct {
	policy *engine.Policy
	sql    string
}

// take returns the statement for sql under p, ready to be bound; give takes it back.
func (c *Conn) take(p *engine.Policy, sql string, keep bool) (*statement, error) {
	if p != nil && !p.Vetted {
		if err := c.refreshShadows(); err != nil {
			return nil, err
		}
	}
	c.use(p)
	if keep {
		if s := c.kept.find(statementKey{p, sql}); s != nil && !s.running {
			if s.running = true; p != nil {
				c.replaces, c.costly = s.replaces, s.costly
				c.narrow()
			}
			return s, nil
		}
	}
	s, err := c.compile(p, sql, keep)
	if err != nil {
		return nil, err
	}
	s.running = true
	if keep {
		c.kept.add(c, s)
	}
	return s, nil
}

// give ends what s is doing.
func (c *Conn) give(s *statement) {
	s.running = false
	if !s.kept {
		lib.Xsqlite3_finalize(c.tls, s.stmt)
		return
	}
	lib.Xsqlite3_reset(c.tls, s.stmt) // its code is that of the last step, which is known
	if len(s.names) > 0 {
		lib.Xsqlite3_clear_bindings(c.tls, s.stmt)
	}
}

// compile compiles exactly one statement.
func (c *Conn) compile(p *engine.Policy, sql string, keep bool) (*statement, error) {
	if e := c.vet(p, sql); e != nil {
		return nil, e
	}
	c.stats.Compiled++
	text, err := libc.CString(sql)
	if err != nil {
		return nil, ErrorOf(err)
	}
	defer libc.Xfree(c.tls, text)
	if p != nil { // the server's own are not asked about, and may run between the steps of another's
		c.costly = false
		c.narrow()
		c.replaces = !p.Vetted && limitsColumns(p.Write) && replacesRows(sql)
	}
	c.asksLast = p == nil
	var flags uint32
	if keep {
		flags = lib.SQLITE_PREPARE_PERSISTENT
	}
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(len(sql)), flags, c.out, c.out+8); rc != lib.SQLITE_OK {
		return nil, c.failure(rc)
	}
	s := &statement{key: statementKey{p, sql}, stmt: c.outPointer(0), replaces: p != nil && c.replaces, costly: p != nil && c.costly,
		asksLast: c.asksLast}
	if s.stmt == 0 {
		return nil, engine.Errorf(engine.CodeSQL, "there is no statement")
	}
	if rest := skipSpace(sql[int(c.outPointer(1)-text):]); rest != "" {
		lib.Xsqlite3_finalize(c.tls, s.stmt)
		e := engine.Errorf(engine.CodeSQL, "there is more than one statement")
		e.Offset = len(sql) - len(rest)
		return nil, e
	}
	c.narrow() // whether it is costly is known by now
	s.readOnly = lib.Xsqlite3_stmt_readonly(c.tls, s.stmt) != 0
	s.names = make([]string, lib.Xsqlite3_bind_parameter_count(c.tls, s.stmt))
	s.bound = make([]bool, len(s.names))
	for i := range s.names {
		if name := libc.GoString(lib.Xsqlite3_bind_parameter_name(c.tls, s.stmt, int32(i+1))); name != "" && name[0] != '?' {
			s.names[i] = name[1:]
		}
	}
	s.describe(c)
	return s, nil
}

// vet refuses what must not even be compiled: a PRAGMA takes effect while it is, and VACUUM asks the authorizer only when it runs.
func (c *Conn) vet(p *engine.Policy, sql string) *engine.Error {
	bound := maxSQL
	if p != nil && p.MaxSQL > 0 {
		bound = min(bound, p.MaxSQL)
	}
	if len(sql) > bound {
		return engine.Errorf(engine.CodeTooLarge, "the statement is longer than %d bytes", bound)
	}
	if i := strings.IndexByte(sql, 0); i >= 0 { // SQLite would take it for the end
		e := engine.Errorf(engine.CodeSQL, "the statement has a zero byte")
		e.Offset = i
		return e
	}
	if p == nil {
		return nil
	}
	if verb := firstWord(sql); slices.Contains(forbiddenVerbs, verb) {
		c.refused = "use " + strings.ToUpper(verb)
		return c.denial()
	}
	if !p.Vetted && joinsByName(sql) {
		c.refused = "join by NATURAL or USING: write ON instead"
		return c.denial()
	}
	return nil
}

// forbiddenVerbs begin the statements that no policy allows. An unknown word is left to SQLite, which knows where the mistake is.
var forbiddenVerbs = []string{"alter", "analyze", "attach", "begin", "commit", "create", "detach", "drop", "end", "pragma", "reindex",
	"release", "rollback", "savepoint", "vacuum"}

// firstWord returns the verb of a statement in lower case, which stands behind EXPLAIN and EXPLAIN QUERY PLAN too.
func firstWord(sql string) string {
	word, rest := cutWord(sql)
	if word == "explain" {
		word, rest = cutWord(rest)
		if word == "query" {
			if word, rest = cutWord(rest); word == "plan" {
				word, _ = cutWord(rest)
			}
		}
	}
	return word
}

func cutWord(sql string) (word, rest string) {
	sql = skipSpace(sql)
	end := 0
	for end < len(sql) && (sql[end]|0x20 >= 'a' && sql[end]|0x20 <= 'z') {
		end++
	}
	return lower(sql[:end]), sql[end:]
}

// skipSpace returns sql from where something stands that SQLite's tokenizer makes no space, comment, byte order mark or semicolon of
// (https://www.sqlite.org/lang_comment.html: a comment of the form /* need not end).
func skipSpace(sql string) string {
	for sql != "" {
		switch {
		case strings.IndexByte(" \t\n\v\f\r;", sql[0]) >= 0:
			sql = sql[1:]
		case strings.HasPrefix(sql, "\xef\xbb\xbf"):
			sql = sql[3:]
		case strings.HasPrefix(sql, "--"):
			end := strings.IndexByte(sql, '\n')
			if end < 0 {
				return ""
			}
			sql = sql[end+1:]
		case strings.HasPrefix(sql, "/*"):
			if len(sql) == 2 { // two operators without an operand, to SQLite
				return sql
			}
			end := strings.Index(sql[2:], "*/")
			if end < 0 {
				return ""
			}
			sql = sql[end+4:]
		default:
			return sql
		}
	}
	return sql
}

// describe notes the columns, which change when SQLite compiles a SELECT * anew.
func (s *statement) describe(c *Conn) {
	s.compiled = lib.Xsqlite3_stmt_status(c.tls, s.stmt, lib.SQLITE_STMTSTATUS_REPREPARE, 0)
	n := lib.Xsqlite3_column_count(c.tls, s.stmt)
	s.columns = make([]engine.Column, n)
	for i := range n {
		s.columns[i] = engine.Column{Name: libc.GoString(lib.Xsqlite3_column_name(c.tls, s.stmt, i)),
			Type: lower(libc.GoString(lib.Xsqlite3_column_decltype(c.tls, s.stmt, i)))}
	}
}

// refresh describes s again if it has been compiled anew since.
func (s *statement) refresh(c *Conn) {
	if lib.Xsqlite3_stmt_status(c.tls, s.stmt, lib.SQLITE_STMTSTATUS_REPREPARE, 0) != s.compiled {
		s.describe(c)
	}
}

// bind gives s its arguments: each parameter one.
func (s *statement) bind(c *Conn, args []engine.Arg) *engine.Error {
	clear(s.bound)
	for i := range args {
		if name := args[i].Name; name != "" {
			found := false
			for n, own := range s.names {
				if own == name { // :a and @a are two parameters
					found = true
					if e := s.bindOne(c, n, &args[i].Value); e != nil {
						return e
					}
				}
			}
			if !found {
				return engine.Errorf(engine.CodeParameter, "there is no parameter %q", name)
			}
			continue
		}
		if i >= len(s.names) {
			return engine.Errorf(engine.CodeParameter, "there are %d arguments, and the statement has %d parameters", len(args), len(s.names))
		}
		if e := s.bindOne(c, i, &args[i].Value); e != nil {
			return e
		}
	}
	for n, bound := range s.bound {
		if !bound {
			if s.names[n] == "" {
				return engine.Errorf(engine.CodeParameter, "parameter %d is missing", n+1)
			}
			return engine.Errorf(engine.CodeParameter, "the parameter %q is missing", s.names[n])
		}
	}
	return nil
}

func (s *statement) bindOne(c *Conn, number int, v *engine.Value) *engine.Error {
	s.bound[number] = true
	place := int32(number + 1)
	rc := int32(lib.SQLITE_OK)
	switch v.Kind {
	case engine.Null:
		rc = lib.Xsqlite3_bind_null(c.tls, s.stmt, place)
	case engine.Integer:
		rc = lib.Xsqlite3_bind_int64(c.tls, s.stmt, place, v.Int)
	case engine.Real:
		rc = lib.Xsqlite3_bind_double(c.tls, s.stmt, place, v.Real)
	default:
		return s.bindBytes(c, place, v)
	}
	if rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	return nil
}

// bindBytes copies v's bytes into memory that SQLite frees: it may not keep an address of Go's.
func (s *statement) bindBytes(c *Conn, place int32, v *engine.Value) *engine.Error {
	n := len(v.Bytes)
	if n > c.maxValue {
		return engine.Errorf(engine.CodeTooLarge, "a value is longer than %d bytes", c.maxValue)
	}
	p, free := emptyText, uintptr(0)
	if n > 0 {
		if p = libc.Xmalloc(c.tls, libc.Tsize_t(n)); p == 0 {
			return engine.Errorf(engine.CodeTooLarge, "there is no memory for a value of %d bytes", n)
		}
		copy(libc.GoBytes(p, n), v.Bytes)
		free = freeCallback
	}
	rc := int32(0)
	if v.Kind == engine.Blob {
		rc = lib.Xsqlite3_bind_blob(c.tls, s.stmt, place, p, int32(n), free)
	} else {
		rc = lib.Xsqlite3_bind_text(c.tls, s.stmt, place, p, int32(n), free)
	}
	if rc != lib.SQLITE_OK { // SQLite has freed it
		return c.failure(rc)
	}
	return nil
}
