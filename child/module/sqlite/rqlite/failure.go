package rqlite

import (
	"regexp"
	"strings"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A failure is why a try at a node brought nothing.
type failure struct {
	err *engine.Error
	// again: another node, or the same one later, may do it.
	again bool
	// maybe: what was asked may have been done, for all that is known.
	maybe bool
}

// unavailable is a failure of the cluster. Its detail, which names nodes, is for the log only.
func unavailable(message string, detail error) *engine.Error {
	return &engine.Error{Code: engine.CodeUnavailable, Message: message, Offset: -1, RetryAfter: retryAfter, Err: detail}
}

// unknownOutcome is what a client learns of a write whose answer never came.
func unknownOutcome(cause *engine.Error) *engine.Error {
	return &engine.Error{
		Code: engine.CodeUnknown, Message: "the cluster's answer was lost: the statements may have been run, or not",
		Offset: -1, Err: cause,
	}
}

type detail string

func (d detail) Error() string { return "rqlite: " + string(d) }

// notDone are errors of rqlite that say that nothing was run (store/store.go and hashicorp/raft/api.go of their versions). What raft calls
// "leadership lost while committing log" is none of them: a log entry of it may be committed by the next leader.
var notDone = []string{
	"leader not found", "not leader", "node is not the leader", "store not open", "store not ready", "load in progress", "stale read",
	"timed out enqueuing operation", "leadership transfer in progress", "no leader", "timeout waiting for fsm", "failed to verify leader",
}

// maybeDone are errors of rqlite that leave it open whether something was run.
var maybeDone = []string{
	"leadership lost while committing log", "raft is already shutdown", "snapshot restored while committing log", "log was aborted",
}

// remoteError is how a node names what happened when it asked the leader for us (http/service.go).
var remoteError = regexp.MustCompile(`^node failed to process \w+ on remote node at (\S+): (.*)$`)

// failureOf reads an error of a whole answer: that of the "error" beside "results", or of a status that is not 200.
func failureOf(message string) *failure {
	message = strings.TrimSpace(message)
	inner := message
	if m := remoteError.FindStringSubmatch(message); m != nil {
		inner = m[2]
		// The leader was not reached, or did not get the whole request: its length comes before it (cluster/client.go).
		if strings.HasPrefix(inner, "pool get:") || strings.HasPrefix(inner, "write length:") {
			return &failure{err: unavailable("the cluster's leader cannot be reached", detail(message)), again: true}
		}
	}
	for _, text := range notDone {
		if strings.Contains(inner, text) {
			return &failure{err: unavailable("the cluster has no leader at the moment", detail(message)), again: true}
		}
	}
	for _, text := range maybeDone {
		if strings.Contains(inner, text) {
			return &failure{err: unavailable("the cluster's leader has changed", detail(message)), again: true, maybe: true}
		}
	}
	if e := sqlError(inner); e.Code != engine.CodeSQL || knownSQL.MatchString(inner) {
		return &failure{err: e}
	}
	// What is left is of the network between the nodes, of a full disk of raft's log, or unheard of.
	return &failure{err: unavailable("the cluster could not do it", detail(message)), again: true, maybe: true}
}

// statusFailure reads an answer whose status is not 200; body is its beginning.
func statusFailure(status int, body string) *failure {
	switch {
	case status == 401 || status == 403:
		return &failure{err: &engine.Error{
			Code: engine.CodeInternal, Message: "the server may not use the cluster; its log says more", Offset: -1,
			Err: detail("a node refuses the user of the configuration, or it may not query, execute or load: check user and password"),
		}}
	case status == 400:
		return &failure{err: &engine.Error{
			Code: engine.CodeRequest, Message: "the cluster does not understand the request", Offset: -1, Err: detail(body),
		}}
	case status == 404 || status == 405 || status >= 300 && status < 400:
		// Something else listens there. Others of the list may be nodes.
		err := unavailable("the cluster cannot be reached", detail("an address of the configuration is no node of rqlite: "+body))
		return &failure{err: err, again: true}
	case status == 503 || status == 429:
		f := failureOf(body)
		if f.err.Code != engine.CodeUnavailable {
			f = &failure{err: unavailable("the cluster is not available", detail(body)), again: true, maybe: true}
		}
		return f
	}
	if strings.Contains(body, "json: unsupported value") {
		return &failure{err: &engine.Error{
			Code: engine.CodeInternal, Message: "the result has an infinity, which the cluster cannot send", Offset: -1, Err: detail(body),
		}, maybe: true}
	}
	return failureOf(body)
}

// A pattern is a beginning of SQLite's messages, with the code that it stands for.
type pattern struct {
	start string
	code  engine.Code
}

// patterns are SQLite's messages (src/vdbe.c, src/insert.c, and sqlite3ErrStr in src/main.c). rqlite sends no result code.
var patterns = []pattern{
	{"UNIQUE constraint failed", engine.CodeConstraintUnique},
	{"PRIMARY KEY must be unique", engine.CodeConstraintPrimaryKey},
	{"FOREIGN KEY constraint failed", engine.CodeConstraintForeignKey},
	{"NOT NULL constraint failed", engine.CodeConstraintNotNull},
	{"CHECK constraint failed", engine.CodeConstraintCheck},
	{"cannot store ", engine.CodeConstraintDatatype},
	{"datatype mismatch", engine.CodeConstraintDatatype},
	{"constraint failed", engine.CodeConstraint},
	{"attempt to change database via query operation", engine.CodeNotReadOnly},
	{"attempt to write a readonly database", engine.CodeReadOnlyDatabase},
	{"database or disk is full", engine.CodeFull},
	{"string or blob too big", engine.CodeTooLarge},
	{"query timeout", engine.CodeTimeout},
	{"sql: transaction has already been", engine.CodeTimeout}, // the timeout of a query in a transaction: our reads with a guard
	{"execute timeout", engine.CodeTimeout},
	{"context deadline exceeded", engine.CodeTimeout},
	{"interrupted", engine.CodeTimeout},
	{"not authorized", engine.CodeDenied},
	{"access to ", engine.CodeDenied},
	{"database disk image is malformed", engine.CodeCorrupt},
	{"file is not a database", engine.CodeCorrupt},
	{"database is locked", engine.CodeBusy},
	{"database table is locked", engine.CodeBusy},
	{"not enough args", engine.CodeParameter},
	{"disk I/O error", engine.CodeInternal},
	{"out of memory", engine.CodeInternal},
	{"unable to open database file", engine.CodeInternal},
}

// knownSQL are messages that a wrong statement brings. Any other message of a single statement is taken for one, too.
var knownSQL = regexp.MustCompile(`^(no such |near "|` +
	`incomplete input|unrecognized token|ambiguous column|table \S+ (has|already)|too many |wrong number |` +
	`misuse of |integer overflow|malformed JSON|SQL logic error|RAISE|cannot |row value misused|sub-select returns|all VALUES must|parse error|` +
	`LIKE or GLOB|Expression tree|parser stack|no tables specified|\d+ values for|a GROUP BY|aggregate functions|ORDER BY|LIMIT|SELECTs to the)`)

// sqlError reads the error of one statement. SQLite's offset is lost on the way.
func sqlError(message string) *engine.Error {
	message = strings.TrimSpace(message)
	for _, p := range patterns {
		if !strings.HasPrefix(message, p.start) {
			continue
		}
		switch p.code {
		case engine.CodeTimeout:
			return &engine.Error{Code: p.code, Message: "the statement took longer than it may", Offset: -1, Err: detail(message)}
		case engine.CodeBusy:
			return &engine.Error{Code: p.code, Message: "the cluster's database is busy", Offset: -1, RetryAfter: retryAfter, Err: detail(message)}
		case engine.CodeInternal, engine.CodeCorrupt:
			return &engine.Error{
				Code: p.code, Message: "the cluster's database has failed; the server's log says more", Offset: -1, Err: detail(message),
			}
		}
		return &engine.Error{Code: p.code, Message: message, Offset: -1}
	}
	return &engine.Error{Code: engine.CodeSQL, Message: message, Offset: -1}
}
