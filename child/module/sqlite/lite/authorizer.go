package lite

import (
	"fmt"
	"slices"
	"strings"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// authorize is sqlite3_set_authorizer's callback (https://www.sqlite.org/c3ref/set_authorizer.html). The last argument, the view or trigger
// that wants it, is not looked at: a common table expression can have any name, and would forge it. The answer is never SQLITE_IGNORE: a
// column that is read as NULL comes back whole in a RETURNING.
func authorize(_ *libc.TLS, number uintptr, action int32, first, second, _, _ uintptr) int32 {
	c := connection(number)
	if c == nil {
		return lib.SQLITE_DENY
	}
	if c.policy == nil && c.tables == nil {
		return lib.SQLITE_OK
	}
	a := asked{action: action, first: libc.GoString(first), second: libc.GoString(second)}
	c.asksLast = c.asksLast || action == lib.SQLITE_FUNCTION && lower(a.second) == "last_insert_rowid"
	if action == lib.SQLITE_FUNCTION && c.policy != nil {
		name := lower(a.second)
		c.costly = c.costly || costlyFunctions[name] && !c.policy.Functions[name]
	}
	c.note(&a)
	if c.policy == nil || c.allows(c.policy, &a) {
		return lib.SQLITE_OK
	}
	if c.refused == "" {
		if c.refused = a.String(); action == lib.SQLITE_UPDATE && c.replaces {
			c.refused += " by replacing rows, which are deleted"
		}
	}
	return lib.SQLITE_DENY
}

// asked is what SQLite wants to know: an action with the names that it is about.
type asked struct {
	action        int32
	first, second string
}

// String says it as the end of "the role reader may not …".
func (a *asked) String() string {
	switch a.action {
	case lib.SQLITE_READ:
		if a.second == "" {
			return "read " + a.first
		}
		return "read " + a.first + "." + a.second
	case lib.SQLITE_INSERT:
		return "insert into " + a.first
	case lib.SQLITE_DELETE:
		return "delete from " + a.first
	case lib.SQLITE_UPDATE:
		return "update " + a.first + "." + a.second
	case lib.SQLITE_FUNCTION:
		return "call " + a.second
	case lib.SQLITE_PRAGMA:
		return "use PRAGMA"
	case lib.SQLITE_ATTACH, lib.SQLITE_DETACH:
		return "attach or detach a database"
	case lib.SQLITE_TRANSACTION, lib.SQLITE_SAVEPOINT:
		return "begin or end a transaction"
	}
	return "change the schema"
}

// denial is the error for what has been refused.
func (c *Conn) denial() *engine.Error {
	who := "the statement"
	if c.policy != nil && !c.policy.Vetted && c.policy.Name != "" {
		who = fmt.Sprintf("the role %q", c.policy.Name)
	}
	return engine.Errorf(engine.CodeDenied, "%s may not %s", who, c.refused)
}

// note gathers the tables for Inspect, and whether the statement is volatile.
func (c *Conn) note(a *asked) {
	if c.tables == nil {
		return
	}
	switch a.action {
	case lib.SQLITE_FUNCTION:
		c.volatile = c.volatile || !steadyFunctions[lower(a.second)]
	case lib.SQLITE_READ, lib.SQLITE_INSERT, lib.SQLITE_UPDATE, lib.SQLITE_DELETE:
		c.tables[a.first] = true
	}
}

func sorted(tables map[string]bool) []string {
	names := make([]string, 0, len(tables))
	for name := range tables {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *Conn) allows(p *engine.Policy, a *asked) bool {
	switch a.action {
	case lib.SQLITE_SELECT, lib.SQLITE_RECURSIVE:
		return true
	case lib.SQLITE_READ:
		table := tableName(a.first)
		return !outside(table) && (p.Vetted || c.reads(p, table, lower(a.second)))
	case lib.SQLITE_INSERT, lib.SQLITE_DELETE, lib.SQLITE_UPDATE:
		table := tableName(a.first)
		if outside(table) || strings.HasPrefix(table, "sqlite_") {
			return false
		}
		return p.Vetted || c.writes(p, a.action, table, lower(a.second))
	case lib.SQLITE_FUNCTION:
		return calls(p, lower(a.second))
	case lib.SQLITE_PRAGMA:
		// No SQL of a policy begins with PRAGMA, and the functions of that name are refused as tables: this is the full-text index, which
		// looks whether it has been changed.
		return lower(a.first) == "data_version" && a.second == ""
	}
	return false
}

// reads reports whether a role may read a column; "": the table is used, and none of its columns. A virtual table is granted whole or not at all:
// what it is asked by, as in docs('body:word'), is a column that SQLite does not ask about, and the statements that it reads its shadows by stay
// compiled for the next role.
func (c *Conn) reads(p *engine.Policy, table, column string) bool {
	if computingTables[table] {
		return true
	}
	if columns, ok := grant(p.Read, table); ok {
		return columns == nil || !c.shadows.virtual[table] && (column == "" || columns[column])
	}
	return c.shadowGranted(p.Read, table) || c.shadowGranted(p.Write, table)
}

// writes reports whether a role may change a column, or add and remove rows: that is to write all columns. An UPDATE that replaces rows removes
// those in its way, unasked. A column that is itself declared UNIQUE ON CONFLICT REPLACE does so too, and does not show here: who may change it
// may displace rows by it, as the schema says.
func (c *Conn) writes(p *engine.Policy, action int32, table, column string) bool {
	if columns, ok := grant(p.Write, table); ok {
		return columns == nil || !c.shadows.virtual[table] && action == lib.SQLITE_UPDATE && columns[column] && !c.replaces
	}
	return c.shadowGranted(p.Write, table)
}

// grant looks a table up. "*" is all tables but SQLite's own.
func grant(tables map[string]engine.Columns, table string) (engine.Columns, bool) {
	columns, ok := tables[table]
	if !ok && table == "sqlite_schema" {
		columns, ok = tables["sqlite_master"]
	}
	if !ok && !strings.HasPrefix(table, "sqlite_") {
		columns, ok = tables["*"]
	}
	return columns, ok
}

// limitsColumns reports whether a table is granted by columns.
func limitsColumns(tables map[string]engine.Columns) bool {
	for _, columns := range tables {
		if columns != nil {
			return true
		}
	}
	return false
}

// tableName returns the name that a table is granted by: the schema has four.
func tableName(name string) string {
	name = lower(name)
	if name == "sqlite_master" {
		return "sqlite_schema"
	}
	return name
}

// lower folds case as SQLite does: of ASCII only (https://www.sqlite.org/lang_expr.html), for É and é are two tables.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// computingTables are tables that are functions of their arguments.
var computingTables = set("json_each json_tree jsonb_each jsonb_tree")

// outsideTables show what is not of the tables: pages, files, the server.
var outsideTables = set(`dbstat sqlite_dbpage sqlite_stmt sqlite_memstat bytecode tables_used completion fsdir zipfile csv carray
	sqlite_btreeinfo sqlite_dbdata sqlite_dbptr`)

func outside(table string) bool { return outsideTables[table] || strings.HasPrefix(table, "pragma_") }

// outsideFunctions reach beyond the tables that a statement names, or show how the server was built.
var outsideFunctions = set(`load_extension readfile writefile edit fts3_tokenizer fts5 fts5_source_id sqlite_compileoption_get
	sqlite_compileoption_used sqlite_source_id sqlite_version sqlite_log sqlite_offset lsmode fsdir zipfile sha3_query shell_add_schema
	shell_putsnl eval rtreecheck geopoly_debug icu_load_collation rbu_tmp_insert`)

// steadyFunctions do nothing but compute, from their arguments and the content: an answer that they made stays good until somebody writes. What is
// in no list is not known to be so: a function that is new in SQLite is volatile until it is put here.
var steadyFunctions = set(`-> ->> abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling char coalesce concat concat_ws cos cosh
	count cume_dist degrees dense_rank exp first_value floor format geopoly_area geopoly_bbox geopoly_blob geopoly_ccw
	geopoly_contains_point geopoly_group_bbox geopoly_json geopoly_overlap geopoly_regular geopoly_svg geopoly_within geopoly_xform glob
	group_concat hex highlight if ifnull iif instr json json_array json_array_insert json_array_length json_error_position json_extract
	json_group_array json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
	json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object
	jsonb_patch jsonb_remove jsonb_replace jsonb_set lag last_value lead length like likelihood likely ln log log10 log2 lower ltrim match
	max median min mod nth_value ntile nullif octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf
	quote radians rank replace round row_number rtrim sign sin sinh snippet soundex sqrt string_agg substr substring subtype sum tan tanh
	total trim trunc typeof unhex unicode unistr unistr_quote unlikely upper zeroblob`)

// volatileFunctions compute from the clock, from chance, or from what the connection has done too. CURRENT_TIME and its like are calls of functions
// to the authorizer. The times are volatile whatever their arguments, for it is not told those: 'now' is one, and so is no argument at all.
var volatileFunctions = set(`changes current_date current_time current_timestamp date datetime julianday last_insert_rowid random
	randomblob strftime time timediff unixepoch`)

func calls(p *engine.Policy, function string) bool {
	if outsideFunctions[function] {
		return false
	}
	return p.Vetted || steadyFunctions[function] || volatileFunctions[function] || p.Functions[function] || p.Functions["*"]
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, word := range strings.Fields(words) {
		m[word] = true
	}
	return m
}
