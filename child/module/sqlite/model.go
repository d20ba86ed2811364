package sqlite

import (
	"crypto/sha256"
	"regexp"
	"sync"
	"time"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// A service is one sqlite block, of one route and generation. It is immutable once it is open, but for what it has found in the directory.
type service struct {
	base       string               // the route's literal prefix, ending in '/'
	depth      int                  // slashes in it
	directory  string               // of the files
	databases  map[string]*database // declared ones, without "*"
	order      []*database          // all, in the order of the file
	declared   map[string]bool      // paths of the files of those
	pattern    *database            // database "*": what all files of the directory have; nil: none
	found      found                // files of the pattern that are open
	only       string               // the database that {base}db/… serves directly; "": none
	roles      map[string]*role
	page       bool // {base} and {base}openapi.json are served
	pageAccess []*role
	queries    int // declared so far
	cache      *cache
	claim      func(dev, ino uint64) (release func())
	log        func(message string, err error)
	api, html  *document // openapi.json and the page
}

// A document is an answer that is the same for everybody as long as the service lives.
type document struct {
	etag    string
	control string // Cache-Control
	reply   *web.Fixed
}

// A role is who may, and what SQL may do then.
type role struct {
	name   string
	guard  *access.Guard
	policy *engine.Policy // of raw SQL
}

// A database is one that is declared, or found in the directory.
type database struct {
	name    string
	path    string               // of the file; "": the cluster's, or those of the directory
	glob    string               // of database "*": the names of its files
	block   *configs.Block       // nil: it is not declared
	away    bool                 // it is a cluster that could not be reached when the queries were compiled
	engine  engine.Database      // nil: database "*"
	queries web.Patterns[*query] // by the path below {base}{name}
	order   []*query
	raw     rawAccess
	level   string        // of a cluster's reads
	limits  engine.Limits // of statements that have none of their own
	readers int           // connections that read
	queue   int           // requests that wait to write
	wait    time.Duration // for a connection, or in the queue
}

// rawAccess says who may send SQL.
type rawAccess struct {
	read, write bool
	roles       []*role // empty: nobody
	limits      engine.Limits
}

// rowForm is what a query answers with.
type rowForm string

// The forms.
const (
	rowMany   rowForm = "many"   // {"rows":[…]}
	rowSingle rowForm = "single" // the object, or 404
)

// A query is a named query: one statement with its parameters.
type query struct {
	name, doc  string
	method     string
	path       string // as it was written: "items/{id}"
	statement  engine.Statement
	info       engine.Info
	params     []param // by the statement's numbers
	byName     bool    // the numbers are not known: params are in the order of the file
	row        rowForm
	access     []*role // empty: everybody
	limits     engine.Limits
	batch      int         // sets of parameters of one request, at most; 0: no arrays
	page       *pagination // nil: none
	cache      string      // value of Cache-Control; "": the server's choice
	level      string      // of a cluster; "": as of the database
	idempotent bool
	print      [sha256.Size]byte // of all that its answers depend on
	encoders   [3]sync.Pool      // of *wire.Encoder, by format
	number     int               // in the service, from 0
	block      *configs.Block
	database   *database // as declared: "*" of one that was found
}

// pagination: the query takes :limit, and :offset or :after.
type pagination struct {
	size, most int    // rows of a page: usual, and what a client may ask for
	key        string // the column whose last value is :after of the next page; "": :offset
}

// paramType is how a parameter is written and bound.
type paramType string

// The types of parameters.
const (
	typeInteger paramType = "integer"
	typeNumber  paramType = "number"
	typeText    paramType = "text"
	typeBoolean paramType = "boolean" // 0 or 1
	typeBlob    paramType = "blob"    // base64 in a path, query or form; {"$base64":"…"} or text in JSON
	typeJSON    paramType = "json"    // any JSON value, bound as its text
)

// A param is one parameter of a query.
type param struct {
	name     string
	doc      string
	typ      paramType
	in       paramPlace
	required bool // no default, and NULL is refused
	nullable bool // null is a value
	fallback engine.Value

	min, max       *float64 // of a number
	minInt, maxInt *int64   // of an integer
	minLen, maxLen int      // of a text in characters, of a blob in bytes
	pattern        *regexp.Regexp
	oneOf          []string
}

// paramPlace is where a parameter comes from.
type paramPlace string

// The places. A query that reads takes from the URL; one that writes from path and content, with the query string as the second choice.
const (
	inPath  paramPlace = "path"
	inQuery paramPlace = "query"
	inBody  paramPlace = "body"
)
