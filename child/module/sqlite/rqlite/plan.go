package rqlite

import (
	"strconv"
	"strings"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A plan is a statement that has been compiled, in the form in which it is sent.
type plan struct {
	info engine.Info
	// sql is what is sent: of a statement that reads, its rows with their types, without a limit.
	sql string
	// returning: it writes, and has rows.
	returning bool
	// inserts: the id of the last row that was inserted is this statement's.
	inserts bool
	// tables are those of info in lower case.
	tables map[string]bool
}

// compiler compiles under a policy, and runs nothing.
type compiler interface {
	Inspect(p *engine.Policy, sql string) (engine.Info, error)
}

// newPlan compiles a statement. The policy holds for what the client wrote and for what is made of it.
func newPlan(c compiler, policy *engine.Policy, sql string) (*plan, error) {
	if i := strings.IndexByte(sql, 0); i >= 0 {
		// SQLite ends there; what rqlite would make of the rest has not been looked at.
		return nil, &engine.Error{Code: engine.CodeSQL, Message: "the statement has a NUL", Offset: i}
	}
	info, err := c.Inspect(policy, sql)
	if err != nil {
		return nil, err
	}
	p := &plan{info: info, tables: make(map[string]bool, len(info.Tables))}
	for _, table := range info.Tables {
		p.tables[strings.ToLower(table)] = true
	}
	tokens := lex(sql)
	for len(tokens) > 0 && tokens[len(tokens)-1].is(sql, ";") {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return nil, engine.Errorf(engine.CodeSQL, "there is no statement")
	}
	switch first := tokens[0]; {
	case first.is(sql, "explain"):
		return nil, engine.Errorf(engine.CodeSQL, "EXPLAIN is not for a cluster")
	case info.ReadOnly && len(info.Columns) == 0, first.is(sql, "pragma"):
		return nil, engine.Errorf(engine.CodeDenied, "the statement is not for a cluster")
	}
	// What stands behind the last token is comments, one of which might hide what is put behind the statement.
	body := sql[tokens[0].start:tokens[len(tokens)-1].end]
	if info.ReadOnly {
		p.sql = typedRows(body, len(info.Columns))
		return p, nil
	}
	if err := checkPresentTime(sql, tokens); err != nil {
		return nil, err
	}
	p.sql = body
	p.inserts = inserts(sql, tokens)
	if len(info.Columns) > 0 {
		p.returning = true
		if p.sql, err = typedReturning(body, len(info.Columns), info.Columns); err != nil {
			return nil, err
		}
		again, err := c.Inspect(policy, p.sql)
		if err != nil || len(again.Columns) != len(info.Columns) || len(again.Parameters) != len(info.Parameters) {
			return nil, errReturning()
		}
	}
	return p, nil
}

// inserts reports whether a statement that writes is an INSERT or a REPLACE, also behind WITH.
func inserts(sql string, tokens []token) bool {
	depth := 0
	for _, t := range tokens {
		depth += nesting(sql, t)
		switch {
		case depth > 0 || t.kind != tokenWord:
		case t.is(sql, "insert") || t.is(sql, "replace"):
			return true
		case t.is(sql, "update") || t.is(sql, "delete"):
			return false
		}
	}
	return false
}

// typedRows makes a statement that has the rows of sql with their types. "LIMIT -1" keeps SQLite from merging the two (the flattener's rule 13,
// https://www.sqlite.org/optoverview.html#subquery_flattening), so that each expression is worked out once, and has one type also if it is random().
// A subquery that is the only one of a FROM keeps its order.
func typedRows(sql string, columns int) string {
	var b strings.Builder
	b.WriteString("WITH _rows(")
	for i := range columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(columnName(i))
	}
	b.WriteString(") AS (SELECT * FROM (")
	b.WriteString(sql)
	b.WriteString(") LIMIT -1) SELECT ")
	for i := range columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(tagged(columnName(i)))
	}
	b.WriteString(" FROM _rows")
	return b.String()
}

func columnName(i int) string { return "_" + strconv.Itoa(i) }

func errReturning() *engine.Error {
	return engine.Errorf(engine.CodeSQL, "RETURNING is too complicated for a cluster: list expressions, each with AS, or write RETURNING *")
}

// typedReturning gives the expressions behind RETURNING their types. rqlite finds that word only if a space follows.
func typedReturning(sql string, count int, columns []engine.Column) (string, error) {
	tokens := lex(sql)
	at, depth := -1, 0
	for i, t := range tokens {
		depth += nesting(sql, t)
		if depth == 0 && t.kind == tokenWord && t.is(sql, "returning") {
			at = i
		}
	}
	if at < 0 {
		return "", errReturning()
	}
	items := splitItems(sql, tokens[at+1:])
	var b strings.Builder
	b.WriteString(sql[:tokens[at].end])
	place := 0
	for i, item := range items {
		if len(item) == 0 {
			return "", errReturning()
		}
		names := []string{""}
		if len(item) == 1 && item[0].is(sql, "*") {
			names = nil
			for _, column := range columns[place:max(place, min(count, place+count-(len(items)-1)))] {
				names = append(names, quoteName(column.Name))
			}
		} else {
			item = withoutAlias(sql, item)
			names[0] = sql[item[0].start:item[len(item)-1].end]
		}
		for j, name := range names {
			separator := ", "
			if i+j == 0 {
				separator = " "
			}
			b.WriteString(separator)
			b.WriteString(tagged(name))
			place++
		}
	}
	if place != count {
		return "", errReturning()
	}
	return b.String(), nil
}

func nesting(sql string, t token) int {
	switch {
	case t.is(sql, "("):
		return 1
	case t.is(sql, ")"):
		return -1
	}
	return 0
}

// splitItems splits at the commas that are in no parentheses.
func splitItems(sql string, tokens []token) [][]token {
	var items [][]token
	begin, depth := 0, 0
	for i, t := range tokens {
		depth += nesting(sql, t)
		if depth == 0 && t.is(sql, ",") {
			items = append(items, tokens[begin:i])
			begin = i + 1
		}
	}
	return append(items, tokens[begin:])
}

// withoutAlias takes "AS name" off an expression, and a name that stands behind an operand without AS.
func withoutAlias(sql string, item []token) []token {
	n := len(item)
	if n >= 3 && item[n-2].is(sql, "as") {
		return item[:n-2]
	}
	if n < 2 || item[n-1].kind != tokenWord && item[n-1].kind != tokenName && item[n-1].kind != tokenString {
		return item
	}
	last, before := item[n-1], item[n-2]
	for _, word := range []string{"null", "isnull", "notnull", "end"} {
		if last.is(sql, word) {
			return item
		}
	}
	operand := before.kind != tokenSymbol || before.is(sql, ")")
	for _, word := range []string{
		"collate", "is", "not", "and", "or", "like", "glob", "regexp", "match", "in", "between", "escape", "from", "distinct",
	} {
		if before.kind == tokenWord && before.is(sql, word) {
			operand = false
		}
	}
	if operand {
		return item[:n-1]
	}
	return item
}

// unsteady are the functions whose value is another on each node. rqlite replaces some of them in a statement of the operator; for that
// it writes the statement anew, which nobody has held a policy against, so that raw SQL goes without.
var unsteady = map[string]bool{
	"random": true, "randomblob": true, "date": true, "time": true, "datetime": true, "julianday": true, "unixepoch": true,
	"strftime": true, "timediff": true,
}

// checkPresentTime refuses, in what writes, the words for the present time that rqlite replaces in no statement: each node would write its own.
func checkPresentTime(sql string, tokens []token) error {
	for _, t := range tokens {
		if t.kind == tokenWord && (t.is(sql, "current_timestamp") || t.is(sql, "current_date") || t.is(sql, "current_time")) {
			return &engine.Error{
				Code: engine.CodeSQL, Offset: t.start,
				Message: t.text(sql) + " has another value on each node of the cluster: write datetime('now'), or pass the value as an argument",
			}
		}
	}
	return nil
}

// checkSteady refuses raw SQL that would write something else on each node.
func checkSteady(sql string) error {
	tokens := lex(sql)
	for i, t := range tokens {
		if t.kind != tokenWord && t.kind != tokenName {
			continue
		}
		word := strings.ToLower(strings.Trim(t.text(sql), "\"`[]"))
		call := i+1 < len(tokens) && tokens[i+1].is(sql, "(")
		if call && unsteady[word] {
			return &engine.Error{
				Code: engine.CodeDenied, Offset: t.start,
				Message: word + " has another value on each node of the cluster: pass the value as an argument",
			}
		}
	}
	return nil
}
