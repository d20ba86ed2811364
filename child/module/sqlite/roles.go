package sqlite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// vetted is what the configuration's own statements may.
var vetted = &engine.Policy{Name: "named queries", Vetted: true}

// newRoles makes the roles of a block, and reads their files of users.
func newRoles(b *configs.Block) (map[string]*role, configs.Diagnostics) {
	roles := map[string]*role{}
	var problems configs.Diagnostics
	for _, block := range b.Blocks("role") {
		name := block.Label(0)
		guard, err := access.New(access.OptionsOf(block))
		if err != nil {
			problems = append(problems, problemAt(block.Pos(""), fmt.Sprintf("role %q: %v", name, err), ""))
			continue
		}
		roles[name] = &role{name: name, guard: guard, policy: &engine.Policy{
			Name:      name,
			Read:      grants(block.Strings("read")),
			Write:     grants(block.Strings("write")),
			Functions: nameSet(block.Strings("functions")),
			MaxSQL:    int(block.Size("max_sql")),
			MaxDepth:  block.Int("max_depth"),
		}}
	}
	return roles, problems
}

func nameSet(list []string) map[string]bool {
	names := map[string]bool{}
	for _, name := range list {
		names[lower(name)] = true
	}
	return names
}

// grants reads the items of read and write, which have been checked.
func grants(items []string) map[string]engine.Columns {
	tables := map[string]engine.Columns{}
	for _, item := range items {
		table, columns, err := parseGrant(item)
		if err != nil {
			continue
		}
		present, twice := tables[table]
		switch {
		case twice && (present == nil || columns == nil):
			tables[table] = nil
		case twice:
			for name := range columns {
				present[name] = true
			}
		default:
			tables[table] = columns
		}
	}
	return tables
}

var grantForm = regexp.MustCompile(`^\s*([^()\s][^()]*?)\s*(?:\(([^()]*)\))?\s*$`)

// parseGrant reads "TABLE", "TABLE(COLUMN, COLUMN)" or "*". Names are compared without regard to case, as SQLite does with ASCII.
func parseGrant(item string) (table string, columns engine.Columns, err error) {
	parts := grantForm.FindStringSubmatch(item)
	if parts == nil {
		return "", nil, fmt.Errorf("%q names no table", item)
	}
	table = lower(parts[1])
	if !strings.Contains(item, "(") {
		return table, nil, nil
	}
	columns = engine.Columns{}
	for _, name := range strings.Split(parts[2], ",") {
		if name = lower(strings.TrimSpace(name)); name == "" {
			return "", nil, fmt.Errorf("%q has an empty name of a column", item)
		}
		columns[name] = true
	}
	if table == "*" {
		return "", nil, fmt.Errorf("%q: columns belong to one table", item)
	}
	return table, columns, nil
}

// lower folds ASCII only, as SQLite does with names.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// rolesNamed returns roles by name, in that order. Their existence has been checked.
func rolesNamed(all map[string]*role, names []string) []*role {
	var list []*role
	for _, name := range names {
		if r := all[name]; r != nil {
			list = append(list, r)
		}
	}
	return list
}

// A judgement is what the roles say to a request.
type judgement struct {
	answer access.Answer
	role   *role   // who it is, when granted; nil: anybody
	asked  []*role // those that had a say
}

// judge asks roles in turn: the first that grants decides. now is for the loop: it may answer Undecided. No roles let everybody in.
func judge(roles []*role, r *web.Request, now bool) judgement {
	if len(roles) == 0 {
		return judgement{answer: access.Granted}
	}
	worst := access.Forbidden
	for _, role := range roles {
		var answer access.Answer
		if now {
			answer = role.guard.JudgeNow(r)
		} else {
			answer = role.guard.Judge(r)
		}
		switch answer {
		case access.Granted:
			return judgement{answer: answer, role: role}
		case access.Undecided, access.Busy:
			return judgement{answer: answer, asked: roles} // a later role must not be taken for it
		case access.Unauthorized:
			worst = answer
		}
	}
	return judgement{answer: worst, asked: roles}
}

// challenges are the values of WWW-Authenticate for a 401, each once.
func (j *judgement) challenges() []string {
	var list []string
	for _, role := range j.asked {
		for _, challenge := range role.guard.Challenges() {
			if !slices.Contains(list, challenge) {
				list = append(list, challenge)
			}
		}
	}
	return list
}

// refusal is the error that a judgement other than Granted becomes.
func (j *judgement) refusal() *engine.Error {
	switch j.answer {
	case access.Unauthorized:
		return engine.Errorf(engine.CodeUnauthorized, "this needs a password or a token")
	case access.Busy:
		e := engine.Errorf(engine.CodeBusy, "too many passwords wait to be checked")
		e.RetryAfter = retryAfter
		return e
	}
	return engine.Errorf(engine.CodeDenied, "your address or role may not do this")
}
