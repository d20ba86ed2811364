package sqlite

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/upkeep"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// The words of raw.
const (
	rawNone  = "none"
	rawRead  = "read"
	rawWrite = "write"
)

// The engines.
const (
	engineFile    = "sqlite"
	engineCluster = "rqlite"
)

// everyFile is the label of the database that stands for all files of the directory.
const everyFile = "*"

// Spec describes sqlite { }.
func (*Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "sqlite",
		Doc:  "serves SQLite databases, and those of an rqlite cluster",
		Attributes: slices.Concat([]configs.Attribute{
			{Name: "directory", Type: configs.Path, Doc: "directory of the databases' files", Example: `"/var/lib/tined/databases"`},
			{Name: "database", Type: configs.String, Doc: "the database that is served at the route itself: PREFIX/db/query", Example: `"shop"`},
			{Name: "page", Type: configs.Bool, Default: true, Doc: "serve a page that lists the queries, and openapi.json, at the route itself"},
			{Name: "page_access", Type: configs.Strings, Doc: "roles that may see them; unset: everybody", Example: `["reader"]`},
			{Name: "cache", Type: configs.Size, Default: "16MiB", Min: 0, Doc: "memory of each child for results that are the same as before; 0: none"},
		}, rawAttributes(), limitAttributes(), queueAttributes()),
		Blocks: []configs.BlockSpec{roleSpec(), databaseSpec()},
		Check:  check,
	}
}

// rawAttributes stand in sqlite, and in a database that has them for itself.
func rawAttributes() []configs.Attribute {
	return []configs.Attribute{
		{Name: "raw", Type: configs.String, Default: rawNone, OneOf: []string{rawNone, rawRead, rawWrite},
			Doc: "whether clients may send SQL of their own, in the shape of rqlite: none, to read, or to read and write"},
		{Name: "raw_access", Type: configs.Strings, Doc: "roles that may", Example: `["admin"]`},
	}
}

func limitAttributes() []configs.Attribute {
	return []configs.Attribute{
		{Name: "timeout", Type: configs.Duration, Default: "5s", Min: time.Millisecond,
			Doc: "after which a statement is stopped, the client's reading of its rows included"},
		{Name: "max_rows", Type: configs.Int, Default: 100_000, Min: 1, Doc: "rows of an answer; more are an error"},
		{Name: "max_bytes", Type: configs.Size, Default: "64MiB", Min: 1, Doc: "bytes of an answer's values; more are an error"},
	}
}

func queueAttributes() []configs.Attribute {
	return []configs.Attribute{
		{Name: "readers", Type: configs.Int, Default: 8, Min: 1, Max: 1000, Doc: "connections of each child that read a database at a time"},
		{Name: "queue", Type: configs.Int, Default: 1000, Min: 1, Max: 1_000_000, Doc: "requests of each child that wait to write to a database; beyond it: 503"},
		{Name: "queue_timeout", Type: configs.Duration, Default: "5s", Min: time.Millisecond, Doc: "how long a request waits to read or write; then: 503"},
	}
}

func roleSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "role", Labels: []string{"name"}, Repeat: true, Doc: "who may, and what the SQL may do that they send",
		Attributes: slices.Concat(access.Attributes(), []configs.Attribute{
			{Name: "read", Type: configs.Strings, Default: []string{"*"}, Doc: "tables, with columns or without, that raw SQL may read",
				Example: `["items", "orders(id, total)"]`},
			{Name: "write", Type: configs.Strings, Doc: "tables, with columns or without, that raw SQL may change", Example: `["orders"]`},
			{Name: "functions", Type: configs.Strings, Doc: "functions that raw SQL may call beside those that only compute", Example: `["fts5"]`},
			{Name: "max_sql", Type: configs.Size, Default: "64KiB", Min: 1, Max: 1_000_000, Doc: "bytes of a statement"},
			{Name: "max_depth", Type: configs.Int, Default: 100, Min: 1, Max: 500, Doc: "depth of an expression"},
		}),
		Check: func(b *configs.Block) []configs.Problem {
			problems := access.Check(b)
			if o := access.OptionsOf(b); o.None() {
				problems = append(problems, configs.Problem{Message: fmt.Sprintf("role %q is for nobody", b.Label(0)),
					Cure: `say who it is: tokens, users, users_file or from, as in from = ["loopback"]`})
			}
			for _, at := range []string{"read", "write"} {
				for i, item := range b.Strings(at) {
					if _, _, err := parseGrant(item); err != nil {
						problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: err.Error(),
							Cure: `write "TABLE", "TABLE(COLUMN, COLUMN)" or "*"`})
					}
				}
			}
			return problems
		},
	}
}

func databaseSpec() configs.BlockSpec {
	own := slices.Concat(rawAttributes(), limitAttributes(), queueAttributes())
	for i := range own {
		own[i].Default = nil // unset: as in sqlite
		own[i].Doc += "; unset: as in sqlite"
	}
	return configs.BlockSpec{
		Name: "database", Labels: []string{"name"}, Repeat: true, Doc: `a database, or with the name "*" all files of the directory`,
		Attributes: slices.Concat([]configs.Attribute{
			{Name: "file", Type: configs.String, Doc: `its file, from the directory; unset: NAME.db. Of database "*" a name with one *`, Example: `"shop.db"`},
			{Name: "engine", Type: configs.String, Default: engineFile, OneOf: []string{engineFile, engineCluster},
				Doc: "a file of this machine, or an rqlite cluster"},
			{Name: "nodes", Type: configs.Strings, Doc: "of a cluster: the addresses of its nodes", Example: `["http://192.0.2.1:4001"]`},
			{Name: "level", Type: configs.String, Default: "weak", OneOf: levels, Doc: "of a cluster: how fresh reads are"},
			{Name: "user", Type: configs.String, Doc: "of a cluster: the name that it knows this server by"},
			{Name: "password", Type: configs.String, Secret: true, Doc: "and its password"},
			{Name: "open", Type: configs.Int, Default: 64, Min: 1, Max: 10_000, Doc: `of database "*": files that each child holds open at a time`},
		}, upkeep.Attributes(), own),
		Blocks: append([]configs.BlockSpec{querySpec()}, upkeep.Blocks()...),
		Check:  checkDatabase,
	}
}

// levels are those of reads in a cluster (https://rqlite.io/docs/api/read-consistency/).
var levels = []string{"none", "weak", "linearizable", "strong"}

func querySpec() configs.BlockSpec {
	limits := limitAttributes()
	for i := range limits {
		limits[i].Default = nil
		limits[i].Doc += "; unset: as of its database"
	}
	return configs.BlockSpec{
		Name: "query", Labels: []string{"name"}, Repeat: true, Doc: "a statement with a URL",
		Attributes: slices.Concat([]configs.Attribute{
			{Name: "method", Type: configs.String, Default: http.MethodGet, OneOf: methods, Doc: "GET reads only"},
			{Name: "path", Type: configs.String, Doc: "its path below PREFIX/DATABASE/, with {wildcards}; unset: the query's name", Example: `"items/{id}"`},
			{Name: "sql", Type: configs.String, Required: true, Doc: "one statement; its parameters are written :name", Example: `"SELECT id, name FROM items WHERE id = :id"`},
			{Name: "doc", Type: configs.String, Doc: "what it is for, for people"},
			{Name: "row", Type: configs.String, Default: string(rowMany), OneOf: []string{string(rowMany), string(rowSingle)},
				Doc: `"many": {"rows":[…]}; "single": the first row itself, and 404 without one`},
			{Name: "access", Type: configs.Strings, Doc: "roles that may; unset: everybody", Example: `["reader"]`},
			{Name: "batch", Type: configs.Int, Default: 1000, Min: 0, Max: 100_000,
				Doc: "sets of parameters that one request may have in an array, done in one transaction; 0: no arrays"},
			{Name: "cache_control", Type: configs.String, Doc: "the field of that name for answers to GET", Example: `"max-age=60"`},
			{Name: "level", Type: configs.String, OneOf: levels, Doc: "of a cluster: how fresh; unset: as of the database"},
			{Name: "idempotent", Type: configs.Bool, Default: false, Doc: "of a cluster: doing it twice does no harm, so it is tried again when a node is lost"},
		}, limits),
		Blocks: []configs.BlockSpec{paramSpec(), pageSpec()},
		Check:  checkQuery,
	}
}

// methods are those that a query may have.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func paramSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "param", Labels: []string{"name"}, Repeat: true, Doc: "a parameter of the statement",
		Attributes: []configs.Attribute{
			{Name: "type", Type: configs.String, Default: string(typeText), OneOf: paramTypes, Doc: "what is taken"},
			{Name: "doc", Type: configs.String, Doc: "what it is, for people"},
			{Name: "default", Type: configs.String, Doc: "its value when it is not given, written as in a URL; unset: it must be given", Example: `"10"`},
			{Name: "nullable", Type: configs.Bool, Default: false, Doc: "it may be null, and is when it is not given and has no default"},
			{Name: "min", Type: configs.Number, Doc: "least value of an integer or number"},
			{Name: "max", Type: configs.Number, Doc: "greatest value of an integer or number"},
			{Name: "min_length", Type: configs.Int, Min: 0, Doc: "characters of a text, bytes of a blob, at least"},
			{Name: "max_length", Type: configs.Int, Min: 0, Doc: "characters of a text, bytes of a blob, at most; unset: 65536"},
			{Name: "pattern", Type: configs.String, Doc: "regular expression that the whole text matches", Example: `"[a-z]+"`},
			{Name: "one_of", Type: configs.Strings, Doc: "the values that a text may have"},
		},
		Check: checkParam,
	}
}

func pageSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "page", Doc: "answers are pages: the statement takes :limit, and :offset or :after",
		Attributes: []configs.Attribute{
			{Name: "size", Type: configs.Int, Default: 50, Min: 1, Max: 100_000, Doc: "rows of a page"},
			{Name: "max", Type: configs.Int, Default: 500, Min: 1, Max: 100_000, Doc: "rows that a client may ask for"},
			{Name: "key", Type: configs.String, Doc: "column that the rows are ordered by and that is unique: its last value is :after of the next page; unset: pages by :offset"},
		},
		Check: func(b *configs.Block) []configs.Problem {
			if b.Int("size") > b.Int("max") {
				return []configs.Problem{{At: "size", Message: "size is greater than max", Cure: "lower size or raise max"}}
			}
			return nil
		},
	}
}

// check looks at sqlite { } as a whole.
func check(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	databases := b.Blocks("database")
	files := b.Has("database") && !slices.ContainsFunc(databases, func(d *configs.Block) bool { return d.Label(0) == b.String("database") })
	for _, d := range databases {
		files = files || d.String("engine") == engineFile
	}
	if files && !b.Has("directory") {
		problems = append(problems, configs.Problem{Message: "sqlite needs directory", Cure: `add directory = "/var/lib/tined/databases"`})
	}
	if len(databases) == 0 && !b.Has("database") {
		problems = append(problems, configs.Problem{Message: "sqlite serves no database",
			Cure: `add database "NAME" { }, or database "*" { } for all files of the directory`})
	}
	if b.Has("database") && !validName(b.String("database")) {
		problems = append(problems, configs.Problem{At: "database", Message: fmt.Sprintf("%q is no name of a database", b.String("database")), Cure: nameCure})
	}
	problems = append(problems, checkBackups(b)...)
	known := map[string]bool{}
	var names []string
	for _, r := range b.Blocks("role") {
		known[r.Label(0)] = true
		names = append(names, r.Label(0))
	}
	roles := func(in *configs.Block, at string) {
		for i, name := range in.Strings(at) {
			if !known[name] {
				problems = append(problems, configs.Problem{In: in, At: at, Item: i + 1, Message: fmt.Sprintf("there is no role %q", name), Cure: unknownRole(name, names)})
			}
		}
	}
	roles(b, "page_access")
	roles(b, "raw_access")
	problems = append(problems, checkRaw(b, b)...)
	for _, d := range databases {
		roles(d, "raw_access")
		for _, p := range checkRaw(d, b) {
			p.In = d
			problems = append(problems, p)
		}
		for _, q := range d.Blocks("query") {
			roles(q, "access")
		}
	}
	return problems
}

// checkBackups: of database "*" all files of the directory are databases, and copies must not be.
func checkBackups(b *configs.Block) []configs.Problem {
	hasEvery := slices.ContainsFunc(b.Blocks("database"), func(d *configs.Block) bool { return d.Label(0) == everyFile })
	for _, d := range b.Blocks("database") {
		if backup := d.Block("backup"); hasEvery && backup != nil && backup.Path("directory") == b.Path("directory") {
			return []configs.Problem{{In: backup, At: "directory", Message: fmt.Sprintf("the backups of database %q stand in the directory whose files are all served", d.Label(0)),
				Cure: "give backup another directory"}}
		}
	}
	return nil
}

func unknownRole(name string, names []string) string {
	if cure := configs.DidYouMean(name, names); cure != "" {
		return cure
	}
	return fmt.Sprintf("add role %q { } to sqlite", name)
}

// checkRaw: nobody gets raw SQL by accident.
func checkRaw(in, outer *configs.Block) []configs.Problem {
	raw, roles := outer.String("raw"), outer.Strings("raw_access")
	if in != outer && in.Has("raw") {
		raw = in.String("raw")
	}
	if in != outer && in.Has("raw_access") {
		roles = in.Strings("raw_access")
	}
	everywhere := append([]*configs.Block{outer}, outer.Blocks("database")...)
	if in == outer && len(roles) > 0 && !slices.ContainsFunc(everywhere, func(b *configs.Block) bool { return b.Has("raw") && b.String("raw") != rawNone }) {
		return []configs.Problem{{At: "raw_access", Message: "raw_access without raw", Cure: `add raw = "read", or remove it`}}
	}
	if raw != rawNone && len(roles) == 0 && (in == outer || in.Has("raw") || in.Has("raw_access")) {
		return []configs.Problem{{At: "raw", Message: fmt.Sprintf("raw = %q without raw_access", raw),
			Cure: `name the roles that may send SQL, as in raw_access = ["admin"]; for everybody on this machine: role "local" { from = ["loopback"] }`}}
	}
	return nil
}

const nameCure = "take letters, digits, '.', '-' and '_', beginning with a letter or digit, at most 64"

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// validName reports whether a database may be called that: the name is a segment of a URL, and may be a part of a file's.
func validName(name string) bool {
	return nameForm.MatchString(name) && name != "openapi.json" && name != "db"
}

func checkDatabase(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	name, cluster := b.Label(0), b.String("engine") == engineCluster
	if name != everyFile && !validName(name) {
		problems = append(problems, configs.Problem{Message: fmt.Sprintf("%q is no name of a database", name), Cure: nameCure})
	}
	file := b.String("file")
	switch {
	case cluster && name == everyFile:
		problems = append(problems, configs.Problem{At: "engine", Message: `database "*" stands for files`, Cure: "give the cluster's database a name"})
	case cluster && len(b.Strings("nodes")) == 0:
		problems = append(problems, configs.Problem{Message: "a cluster needs nodes", Cure: `add nodes = ["http://192.0.2.1:4001"]`})
	case cluster && b.Has("file"):
		problems = append(problems, configs.Problem{At: "file", Message: "a cluster's database has no file here", Cure: "remove it"})
	case !cluster && b.Has("nodes"):
		problems = append(problems, configs.Problem{At: "nodes", Message: "nodes are a cluster's", Cure: `add engine = "rqlite", or remove them`})
	case name == everyFile && file != "" && (strings.Count(file, "*") != 1 || strings.Contains(file, "/") || strings.HasSuffix(file, "*")):
		problems = append(problems, configs.Problem{At: "file", Message: fmt.Sprintf("%q does not say which files", file), Cure: `write a name with one * and an ending, such as "*.db"`})
	case companion(file):
		problems = append(problems, configs.Problem{At: "file", Message: fmt.Sprintf("%q is a file that stands beside a database", file), Cure: "name the database"})
	case name != everyFile && strings.Contains(file, "*"):
		problems = append(problems, configs.Problem{At: "file", Message: fmt.Sprintf("%q is no file's name", file), Cure: `for all files write database "*" { }`})
	case b.Has("file") && !below(file):
		problems = append(problems, configs.Problem{At: "file", Message: fmt.Sprintf("%q is not in the directory", file), Cure: `write a name below it, such as "shop.db"`})
	}
	problems = append(problems, checkKind(b, cluster)...)
	if b.Has("user") != b.Has("password") {
		problems = append(problems, configs.Problem{Message: "user and password go together", Cure: "add the other"})
	}
	return append(problems, checkPaths(b)...)
}

// checkKind refuses what would do nothing: settings of a file for a cluster, and the other way round.
func checkKind(b *configs.Block, cluster bool) []configs.Problem {
	var problems []configs.Problem
	refuse := func(at, whose string) {
		problems = append(problems, configs.Problem{At: at, Message: fmt.Sprintf("%s is for %s", at, whose), Cure: "remove it"})
	}
	if cluster {
		for _, at := range []string{"migrations", "readers", "queue"} {
			if b.Has(at) {
				refuse(at, "files")
			}
		}
		for _, block := range upkeep.Blocks() {
			if b.Block(block.Name) != nil {
				refuse(block.Name, "files")
			}
		}
	} else {
		for _, at := range []string{"level", "user", "password"} {
			if b.Has(at) {
				refuse(at, "clusters")
			}
		}
		for _, q := range b.Blocks("query") {
			for _, at := range []string{"level", "idempotent"} {
				if q.Has(at) {
					problems = append(problems, configs.Problem{In: q, At: at, Message: at + " is for clusters", Cure: "remove it"})
				}
			}
		}
	}
	if b.Has("open") && b.Label(0) != everyFile {
		refuse("open", `database "*"`)
	}
	return problems
}

// checkPaths: no two queries of a database have one URL, and none hides raw SQL.
func checkPaths(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	var all web.Patterns[string]
	for _, q := range b.Blocks("query") {
		pattern, err := queryPattern(q)
		if err != nil {
			continue // its own check has said so
		}
		if all.Add(pattern, q.Label(0)) == nil {
			continue
		}
		for p, name := range all.All {
			if p.Key() == pattern.Key() {
				problems = append(problems, configs.Problem{In: q, Message: fmt.Sprintf("queries %q and %q have the same method and path", name, q.Label(0)),
					Cure: "give one of them another"})
			}
		}
	}
	return problems
}

// queryPattern is the pattern of a query's path, from the database's own.
func queryPattern(b *configs.Block) (web.Pattern, error) {
	path := b.Label(0)
	if b.Has("path") {
		path = b.String("path")
	}
	return web.ParsePattern(b.String("method") + " /" + path)
}

func checkQuery(b *configs.Block) []configs.Problem {
	var problems []configs.Problem
	path := b.Label(0)
	if b.Has("path") {
		path = b.String("path")
	}
	first, _, _ := strings.Cut(path, "/")
	var wrong *web.PatternError
	_, err := queryPattern(b)
	switch {
	case errors.As(err, &wrong):
		problems = append(problems, configs.Problem{At: "path", Message: wrong.Message, Cure: wrong.Cure})
	case err != nil || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || path == "":
		problems = append(problems, configs.Problem{At: "path", Message: fmt.Sprintf("%q is no path of a query", path), Cure: `write it without slashes at its ends, as in "items/{id}"`})
	case first == "db":
		problems = append(problems, configs.Problem{At: "path", Message: `"db/" is the beginning of the paths of raw SQL`, Cure: "take another"})
	}
	if strings.TrimSpace(b.String("sql")) == "" {
		problems = append(problems, configs.Problem{At: "sql", Message: "sql is empty", Cure: "write one statement"})
	}
	if b.Has("cache_control") && (b.String("method") != http.MethodGet || !web.ValidFieldValue(b.String("cache_control"))) {
		problems = append(problems, configs.Problem{At: "cache_control", Message: "cache_control is for GET, and a value of a header field", Cure: `write one such as "max-age=60", or remove it`})
	}
	if b.Has("batch") && b.String("method") == http.MethodGet {
		problems = append(problems, configs.Problem{At: "batch", Message: "batch is for methods that write", Cure: "remove it"})
	}
	if b.Block("page") != nil && (b.String("row") == string(rowSingle) || b.String("method") != http.MethodGet) {
		problems = append(problems, configs.Problem{At: "page", Message: "pages are for GET with many rows", Cure: `remove page, or row = "single"`})
	}
	return problems
}

// below reports whether a file's name stays in the directory.
func below(name string) bool {
	return name != "" && !strings.HasPrefix(name, "/") && !slices.Contains(strings.Split(name, "/"), "..") && !strings.HasSuffix(name, "/")
}
