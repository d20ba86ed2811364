package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
	"github.com/tined/tined/child/module/sqlite/local"
	"github.com/tined/tined/child/module/sqlite/rqlite"
	"github.com/tined/tined/child/module/sqlite/upkeep"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Module serves databases. The zero value is ready.
type Module struct{}

// openTimeout bounds what Open asks of one database, a cluster's nodes included.
const openTimeout = 10 * time.Second

// migrateTimeout bounds the migrations of one file, and the waiting for another child that applies them. A reload gives children a minute.
const migrateTimeout = 45 * time.Second

// Open opens the databases of a block and compiles its queries. Its errors are configs.Diagnostics: a statement that SQLite refuses is
// reported with the place of the word in the file.
func (*Module) Open(b *configs.Block, env *module.Env) (module.Instance, error) {
	s, problems := open(b, env)
	if problems.HasErrors() {
		s.close()
		return module.Instance{}, problems
	}
	instance := module.Instance{Handler: s, Close: s.close}
	if env.Pool != nil {
		instance.Pool = env.Pool("sqlite")
	}
	return instance, nil
}

// opener builds a service, and collects what is wrong.
type opener struct {
	*service
	block    *configs.Block
	env      *module.Env
	problems configs.Diagnostics
	model    *database // of database "*": what its migrations make of a new file, to compile queries on; nil: not made
}

// maxStrangers is how many files of a directory are tried for one that a query can be compiled on.
const maxStrangers = 16

// open returns the service also when there are problems: it must be closed.
func open(b *configs.Block, env *module.Env) (*service, configs.Diagnostics) {
	o := &opener{block: b, env: env, service: &service{
		base: env.Prefix, depth: strings.Count(env.Prefix, "/"), databases: map[string]*database{}, declared: map[string]bool{}, page: b.Bool("page"), cache: newCache(b.Size("cache")),
		claim: claim(env.Claims),
		log: func(message string, err error) {
			if env.Log != nil {
				env.Log(module.Error, message, module.Field{Key: "error", Value: err.Error()})
			}
		},
	}}
	o.directory = b.Path("directory")
	o.roles, o.problems = newRoles(b)
	o.checkDirectory()
	o.pageAccess = rolesNamed(o.roles, b.Strings("page_access"))
	if o.problems.HasErrors() {
		return o.service, o.problems
	}
	defer o.dropModel()
	for _, d := range setOf(b).Declared { // before any is opened
		o.declared[d.Path] = true
		if real, err := filepath.EvalSymlinks(d.Path); err == nil {
			o.declared[real] = true
		}
	}
	for _, block := range b.Blocks("database") {
		d := o.declare(block)
		o.order = append(o.order, d)
		if d.name == everyFile {
			o.pattern = d
		} else {
			o.databases[d.name] = d
		}
	}
	if name := b.String("database"); name != "" && o.databases[name] == nil && o.pattern == nil {
		d := &database{name: name, path: filepath.Join(o.directory, name+".db")}
		o.settle(d, nil)
		o.connect(d, b.Pos("database"))
		o.databases[name] = d
		o.order = append(o.order, d)
	}
	o.only = b.String("database")
	o.checkCopies()
	o.found.init(o.service)
	if !o.problems.HasErrors() {
		o.present()
	}
	return o.service, o.problems
}

// checkDirectory says so once, and not for each database, if there is none.
func (o *opener) checkDirectory() {
	if !o.block.Has("directory") {
		return
	}
	if info, err := os.Stat(o.directory); err != nil || !info.IsDir() {
		o.wrong(o.block.Pos("directory"), "make it, as the user that the children run as: install -d -o USER "+o.directory,
			"there is no directory %s that can be read", o.directory)
	}
}

// checkCopies: of database "*" all files of the directory are databases, and copies must not be. The specification has compared the names.
func (o *opener) checkCopies() {
	home, err := os.Stat(o.directory)
	if o.pattern == nil || err != nil {
		return
	}
	for _, d := range o.block.Blocks("database") {
		backup := d.Block("backup")
		if backup == nil {
			continue
		}
		if copies, err := os.Stat(backup.Path("directory")); err == nil && os.SameFile(home, copies) {
			o.wrong(backup.Pos("directory"), "give backup another directory", "the backups of database %q are in the directory whose files are all served", d.Label(0))
		}
	}
}

// claim is what tells the other modules of the process to leave a file alone.
func claim(claims *module.Claims) func(dev, ino uint64) (release func()) {
	if claims == nil {
		return nil
	}
	return claims.Claim
}

// present makes what is the same for everybody: the page and the description.
func (o *opener) present() {
	if !o.page {
		return
	}
	o.api = fixed(o.openAPI(), web.Field{Name: "Content-Type", Value: "application/json"}, web.Field{Name: "Cache-Control", Value: "no-cache"})
	o.html = fixed(o.pageHTML(), pageFields()...)
}

// fixed is a document that is made once, with an entity tag of its content.
func fixed(content []byte, fields ...web.Field) *document {
	sum := sha256.Sum256(content)
	d := &document{etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`}
	var h web.Header
	for _, f := range fields {
		h.Set(f.Name, f.Value)
		if f.Name == "Cache-Control" {
			d.control = f.Value
		}
	}
	h.Set("ETag", d.etag)
	d.reply = web.NewFixed(http.StatusOK, &h, content)
	return d
}

// problemAt makes a Diagnostic.
func problemAt(pos configs.Position, message, cure string) configs.Diagnostic {
	return configs.Diagnostic{File: pos.File, Line: pos.Line, Column: pos.Column, Severity: configs.Error, Message: message, Cure: cure}
}

func (o *opener) wrong(pos configs.Position, cure, format string, args ...any) {
	o.problems = append(o.problems, problemAt(pos, fmt.Sprintf(format, args...), cure))
}

// declare reads database { } and opens what it names.
func (o *opener) declare(b *configs.Block) *database {
	d := &database{name: b.Label(0), block: b, level: b.String("level")}
	o.settle(d, b)
	switch {
	case b.String("engine") == engineCluster:
		o.reach(d, b)
	case d.name == everyFile:
		d.glob = fileOf(b)
	default:
		d.path = filepath.Join(o.directory, fileOf(b))
		o.connect(d, b.Pos("file"))
	}
	for _, block := range b.Blocks("query") {
		o.query(d, block)
	}
	return d
}

// settle reads what a database may have for itself; nil: everything is as in sqlite { }.
func (o *opener) settle(d *database, own *configs.Block) {
	from := func(attribute string) *configs.Block {
		if own != nil && own.Has(attribute) {
			return own
		}
		return o.block
	}
	d.limits = engine.Limits{
		Timeout: from("timeout").Duration("timeout"), MaxRows: int64(from("max_rows").Int("max_rows")), MaxBytes: from("max_bytes").Size("max_bytes"),
	}
	d.readers, d.queue, d.wait = from("readers").Int("readers"), from("queue").Int("queue"), from("queue_timeout").Duration("queue_timeout")
	word := from("raw").String("raw")
	d.raw = rawAccess{
		read: word != rawNone, write: word == rawWrite, roles: rolesNamed(o.roles, from("raw_access").Strings("raw_access")), limits: d.limits,
	}
}

// connect opens a database's file, after its migrations.
func (o *opener) connect(d *database, pos configs.Position) {
	if d.block != nil {
		if err := o.migrate(d, d.path); err != nil {
			o.wrong(d.block.Pos("migrations"), "", "database %q: %v", d.name, err)
			return
		}
	}
	file, err := o.openFile(d, d.path)
	if err != nil {
		cure := ""
		if errors.Is(err, os.ErrNotExist) {
			cure = fmt.Sprintf("create it, as with: sqlite3 %s 'VACUUM'; or give the database migrations = \"DIRECTORY\"", d.path)
		}
		o.wrong(pos, cure, "database %q: %v", d.name, reason(err))
		return
	}
	d.engine = file
}

// migrate brings a file to the schema that its block's migrations make.
func (s *service) migrate(d *database, path string) error {
	if !d.block.Has("migrations") {
		return nil
	}
	// As long as this share is held, nobody closes the file's last one: that would drop the locks of the migrations too.
	if share, err := s.openFile(d, path); err == nil {
		defer share.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), migrateTimeout)
	defer cancel()
	_, err := upkeep.Migrate(ctx, path, d.block.Path("migrations"))
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: they may take %v here; let `tined db migrate %s` apply them", err, migrateTimeout, d.name)
	}
	return err
}

// reason is the cause of an engine's error, which is more than clients are told.
func reason(err error) error {
	var e *engine.Error
	if errors.As(err, &e) && e.Err != nil && e.Code != engine.CodeSQL {
		return e.Err
	}
	if e != nil {
		return errors.New(e.Message)
	}
	return err
}

// openFile opens a file as d wants it.
func (s *service) openFile(d *database, path string) (engine.Database, error) {
	if name, is := lite.NetworkFileSystem(path); is {
		e := engine.Errorf(engine.CodeUnavailable, "the database cannot be opened")
		e.Err = fmt.Errorf("%s is on a network file system (%s), whose locks do not hold between machines: put the database on a disk of this machine, "+
			"or use engine = %q", path, name, engineCluster)
		return nil, e
	}
	file, err := local.Open(local.Options{
		Path: path, Claim: s.claim, Readers: d.readers, Queue: d.queue, QueueTimeout: d.wait, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// reach makes the client of a cluster, which need not be there yet: a server that starts beside its cluster must not fail for that.
func (o *opener) reach(d *database, b *configs.Block) {
	cluster, err := rqlite.Open(rqlite.Options{
		Nodes: b.Strings("nodes"), User: b.String("user"), Password: b.String("password"), Level: d.level, Log: o.log,
	})
	if err != nil {
		o.wrong(b.Pos("nodes"), "", "database %q: %v", d.name, reason(err))
		return
	}
	d.engine = cluster
}

// query reads query { } and compiles its statement.
func (o *opener) query(d *database, b *configs.Block) {
	q := &query{
		name: b.Label(0), doc: b.String("doc"), method: b.String("method"), path: b.Label(0), row: rowForm(b.String("row")), block: b,
		access: rolesNamed(o.roles, b.Strings("access")), limits: d.limits, batch: b.Int("batch"), cache: b.String("cache_control"),
		level: b.String("level"), idempotent: b.Bool("idempotent") || b.String("method") == "PUT" || b.String("method") == "DELETE", database: d,
		number: o.queries,
	}
	o.queries++
	q.statement = engine.Statement{SQL: b.String("sql"), Kept: true}
	if b.Has("path") {
		q.path = b.String("path")
	}
	if b.Has("timeout") {
		q.limits.Timeout = b.Duration("timeout")
	}
	if b.Has("max_rows") {
		q.limits.MaxRows = int64(b.Int("max_rows"))
	}
	if b.Has("max_bytes") {
		q.limits.MaxBytes = b.Size("max_bytes")
	}
	if page := b.Block("page"); page != nil {
		q.page = &pagination{size: page.Int("size"), most: page.Int("max"), key: page.String("key")}
	}
	pattern, err := queryPattern(b)
	if err == nil {
		err = d.queries.Add(pattern, q)
	}
	if err != nil {
		o.wrong(b.Pos("path"), "", "query %q: %v", q.name, err)
		return
	}
	d.order = append(d.order, q)
	defer func() { q.print = q.fingerprint() }()
	switch {
	case d.name == everyFile:
		o.compileSomewhere(q, d)
	case d.engine == nil || d.away: // it could not be opened, which has been said; or it is a cluster that is not there yet
		q.declared()
	default:
		o.compile(q, d)
	}
}

// compileSomewhere compiles a query of database "*" on what the migrations make, or on the first file that can have it: there may be strangers in the
// directory.
func (o *opener) compileSomewhere(q *query, d *database) {
	if d.block.Has("migrations") {
		o.compileOnModel(q, d)
		return
	}
	var first configs.Diagnostics
	for i, name := range o.names(d) {
		if i == maxStrangers {
			break
		}
		one := &database{name: name, path: pathIn(o.directory, d.glob, name), readers: d.readers, queue: d.queue, wait: d.wait}
		file, err := o.openFile(one, one.path)
		if err != nil {
			continue // it is no database; who asks for it is told so
		}
		one.engine = file
		before := o.problems
		o.problems = nil
		o.compile(q, one)
		found := o.problems
		o.problems = before
		file.Close()
		if !found.HasErrors() {
			return
		}
		if first == nil {
			for i := range found {
				found[i].Message += " (in " + one.path + ")"
			}
			first = found
		}
		q.params = nil
	}
	if first == nil {
		q.declared() // there is no file yet
		return
	}
	o.problems = append(o.problems, first...)
}

// compileOnModel compiles a query on a database that has nothing but the migrations.
func (o *opener) compileOnModel(q *query, d *database) {
	if o.model == nil {
		o.model = &database{name: d.name, block: d.block, readers: 1, queue: d.queue, wait: d.wait}
		if err := o.makeModel(); err != nil {
			o.wrong(d.block.Pos("migrations"), "", "the migrations of database %q, tried on a new file: %v", d.name, reason(err))
		}
	}
	if o.model.engine == nil {
		q.declared()
		return
	}
	o.compile(q, o.model)
}

// makeModel makes the file in a folder of its own, which dropModel removes.
func (o *opener) makeModel() error {
	folder, err := os.MkdirTemp("", "tined-model-")
	if err != nil {
		return err
	}
	o.model.path = filepath.Join(folder, "model.db")
	if err := o.migrate(o.model, o.model.path); err != nil {
		return err
	}
	o.model.engine, err = o.openFile(o.model, o.model.path)
	return err
}

func (o *opener) dropModel() {
	if o.model == nil {
		return
	}
	if o.model.engine != nil {
		o.model.engine.Close()
	}
	if o.model.path != "" {
		if err := os.RemoveAll(filepath.Dir(o.model.path)); err != nil {
			o.log("a temporary database is left", err)
		}
	}
	o.model = nil
}

// compile asks the database what it thinks of a query, and holds the parameters against the statement.
func (o *opener) compile(q *query, d *database) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	b := q.block
	info, err := d.engine.Inspect(ctx, vetted, q.statement.SQL)
	if err != nil {
		e := engine.ErrorOf(err)
		if e.Code == engine.CodeUnavailable {
			d.away = true
			q.declared()
			return
		}
		o.wrong(b.PosIn("sql", e.Offset), sqlCure(e), "query %q: %s", q.name, e.Message)
		return
	}
	q.info = info
	if q.method == "GET" && !info.ReadOnly {
		o.wrong(b.Pos("sql"), `write method = "POST", "PUT", "PATCH" or "DELETE"`, "query %q writes, and GET must not (RFC 9110, 9.2.1)", q.name)
	}
	o.columns(q)
	o.parameters(q)
}

// sqlCure says what to do about a statement that a policy, and not SQLite's grammar, refuses.
func sqlCure(e *engine.Error) string {
	if e.Code == engine.CodeDenied {
		return "queries read and write tables; schema changes belong into migrations, and transactions, PRAGMA and ATTACH are the server's"
	}
	return ""
}

// columns: an object has no two members of one name.
func (o *opener) columns(q *query) {
	seen := map[string]bool{}
	for _, c := range q.info.Columns {
		if seen[c.Name] {
			o.wrong(q.block.Pos("sql"), fmt.Sprintf("name them apart, as with AS: … AS other_%s", c.Name), "query %q has two columns called %q", q.name, c.Name)
		}
		seen[c.Name] = true
	}
	if q.page != nil && q.page.key != "" && !seen[q.page.key] {
		o.wrong(q.block.Block("page").Pos("key"), "select it, or take a column that is selected", "query %q has no column %q", q.name, q.page.key)
	}
}

// parameters puts the declared ones into the order of the statement's numbers.
func (o *opener) parameters(q *query) {
	declared := map[string]*configs.Block{}
	for _, p := range q.block.Blocks("param") {
		declared[p.Label(0)] = p
	}
	used := map[string]bool{}
	for i, name := range q.info.Parameters {
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			o.wrong(q.block.Pos("sql"), "write :name", "query %q has a parameter without a name", q.name)
			return
		}
		used[name] = true
		p, known := q.pageParam(name)
		switch {
		case known:
		case declared[name] == nil:
			o.wrong(q.block.Pos("sql"), fmt.Sprintf("add param %q { type = \"integer\" }, or another type", name), "query %q does not declare :%s, parameter %d", q.name, name, i+1)
			continue
		default:
			p = newParam(declared[name])
		}
		p.in = q.placeOf(name)
		q.params = append(q.params, p)
	}
	for _, p := range q.block.Blocks("param") {
		if !used[p.Label(0)] {
			o.wrong(p.Pos(""), fmt.Sprintf("write :%s in the statement, or remove it", p.Label(0)), "query %q does not use its parameter %q", q.name, p.Label(0))
		}
	}
	for _, name := range q.wildcards() {
		if !used[name] {
			o.wrong(q.block.Pos("path"), fmt.Sprintf("write :%s in the statement, or another path", name), "query %q does not use {%s} of its path", q.name, name)
		}
	}
	if q.page != nil {
		for _, name := range []string{"limit", q.page.parameter()} {
			if !used[name] {
				o.wrong(q.block.Block("page").Pos(""), fmt.Sprintf("write … LIMIT :limit, and :%s", q.page.parameter()), "query %q is paged and does not use :%s", q.name, name)
			}
		}
	}
}

// declared takes the parameters as they are declared: what is known of a query that could not be compiled.
func (q *query) declared() {
	for _, b := range q.block.Blocks("param") {
		p := newParam(b)
		p.in = q.placeOf(p.name)
		q.params = append(q.params, p)
		q.info.Parameters = append(q.info.Parameters, p.name)
	}
	if q.page != nil {
		for _, name := range []string{"limit", q.page.parameter()} {
			if p, known := q.pageParam(name); known && !slices.Contains(q.info.Parameters, name) {
				p.in = inQuery
				q.params = append(q.params, p)
				q.info.Parameters = append(q.info.Parameters, name)
			}
		}
	}
	q.info.ReadOnly = q.method == "GET"
	q.info.Volatile = true // it may be
	q.byName = true
}

// wildcards are the names in a query's path.
func (q *query) wildcards() []string {
	var names []string
	for _, segment := range strings.Split(q.path, "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			names = append(names, strings.TrimSuffix(segment[1:len(segment)-1], "..."))
		}
	}
	return names
}

func (q *query) placeOf(name string) paramPlace {
	switch {
	case slices.Contains(q.wildcards(), name):
		return inPath
	case q.method == "GET" || q.method == "DELETE":
		return inQuery
	}
	return inBody
}

// parameter is the name of what says where a page begins.
func (p *pagination) parameter() string {
	if p.key != "" {
		return "after"
	}
	return "offset"
}

// pageParam makes the parameters that page { } brings, unless they are declared.
func (q *query) pageParam(name string) (param, bool) {
	if q.page == nil || slices.ContainsFunc(q.block.Blocks("param"), func(b *configs.Block) bool { return b.Label(0) == name }) {
		return param{}, false
	}
	zero, one, most := int64(0), int64(1), int64(q.page.most)
	switch name {
	case "limit":
		return param{name: name, typ: typeInteger, minInt: &one, maxInt: &most, fallback: engine.IntegerOf(int64(q.page.size)), doc: "rows of a page"}, true
	case "offset":
		return param{name: name, typ: typeInteger, minInt: &zero, fallback: engine.IntegerOf(0), doc: "rows before the page"}, q.page.key == ""
	}
	return param{}, false
}

// close gives all databases back.
func (s *service) close() {
	for _, d := range s.order {
		if d.engine != nil {
			d.engine.Close()
		}
	}
	s.found.close()
}
