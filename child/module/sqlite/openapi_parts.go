package sqlite

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/tined/tined/child/module/sqlite/engine"
)

const apiAbout = "SQL statements with names, each under a URL of its own. Integers are exact to 64 bits: read them with a parser that keeps them. " +
	`A blob, and a text that is no UTF-8, is {"$base64":"…"}. Errors are problems (RFC 9457) with a code for programs. ` +
	"SQLite holds a column to its type in STRICT tables only: elsewhere take the types of rows for what is usual."

// The names of the responses that many operations share, by their status.
var apiRefusals = map[int]string{
	304: "NotModified",
	400: "BadRequest",
	401: "Unauthorized",
	403: "Forbidden",
	404: "NotFound",
	406: "NotAcceptable",
	409: "Constraint",
	412: "PreconditionFailed",
	413: "TooLarge",
	415: "MediaType",
	429: "TooManyRequests",
	500: "Internal",
	502: "OutcomeUnknown",
	503: "Unavailable",
	504: "Timeout",
	507: "Full",
}

var apiRefusalText = map[int]string{
	304: "The answer is still the one that If-None-Match names. No SQL has run.",
	400: "A parameter is missing, unknown, or not of its type or bounds (code parameter); the request has not its form (request); " +
		"the statement is wrong (sql_error).",
	401: "Credentials are wanted, and there are none or wrong ones.",
	403: "The role may not, or the client's address may not.",
	404: "No such database, or no row.",
	406: "Accept names none of the formats.",
	409: "The database refused it by a constraint, which code names: constraint_unique, constraint_foreign_key, …",
	412: "If-Match does not hold.",
	413: "The answer has more rows or bytes than it may (too_many_rows, too_many_bytes), or the request is too large (too_large).",
	415: "The content is of a type that is not taken.",
	429: "Too many requests from this client.",
	500: "The server has made a mistake, or the database is damaged. Its log says more.",
	502: "A cluster's answer was lost: what was asked for may have been done, or not.",
	503: "The queue of writers is full, or the database cannot be reached for the moment. Nothing has been done.",
	504: "The statement took longer than it may. Nothing has been changed.",
	507: "The disk is full. Nothing has been changed.",
}

// takesContent reports whether q has parameters that come in the request's content.
func (q *query) takesContent() bool {
	return slices.ContainsFunc(q.params, func(p param) bool { return p.in == inBody })
}

// reads reports whether q changes nothing.
func (q *query) reads() bool { return q.info.ReadOnly }

// answersRows reports whether q selects, or has RETURNING. One that could not be compiled yet is taken for what its method says.
func (q *query) answersRows() bool { return q.reads() || len(q.info.Columns) > 0 }

// responses describes the answers of q. found: the database may not be there.
func (q *query) responses(found bool) map[string]any {
	to := map[string]any{"200": q.success()}
	status := []int{406, 412, 429, 500, 502, 503, 504}
	if len(q.params) > 0 {
		status = append(status, 400)
	}
	if len(q.access) > 0 {
		status = append(status, 401, 403)
	}
	if found || q.row == rowSingle {
		status = append(status, 404)
	}
	if q.method == http.MethodGet {
		status = append(status, 304)
	}
	if q.answersRows() || q.takesContent() {
		status = append(status, 413)
	}
	if q.takesContent() {
		status = append(status, 415)
	}
	if !q.reads() {
		status = append(status, 409, 507)
	}
	for _, code := range status {
		to[strconv.Itoa(code)] = apiReference{"#/components/responses/" + apiRefusals[code]}
	}
	return to
}

// success describes the answer of a query that was done.
func (q *query) success() apiResponse {
	to := apiResponse{Description: "What was changed.", Content: map[string]apiMedia{"application/json": {Schema: refer("Written")}}}
	if q.answersRows() {
		row := q.rowSchema()
		whole := &schema{Type: "object", Required: []string{"rows"}, Properties: map[string]*schema{"rows": listOf(row), "error": refer("Failure")}}
		if !q.reads() {
			whole.Properties["rows_affected"], whole.Properties["last_insert_id"] = integerSchema(), integerSchema()
		}
		to.Description = "The rows."
		switch {
		case q.row == rowSingle:
			whole, to.Description = row, "The row."
		case q.page != nil:
			whole.Properties["next"] = &schema{Type: "string", Description: "Where the next page is, from the URL of this one; absent on the last page."}
		}
		to.Content = map[string]apiMedia{
			"application/json": {Schema: whole},
			"application/x-ndjson": {Schema: &schema{Type: "string", Description: "A row a line, as objects. " +
				"The last line is {\"$end\":{\"rows\":N}}: without it the answer is not whole."}},
			"text/csv": {Schema: &schema{Type: "string", Description: "RFC 4180, with a header line. Blobs are base64."}},
		}
	}
	if q.batch > 0 && q.takesContent() {
		to.Description += " Of an array: the outcome of each set, in its order."
		media := to.Content["application/json"]
		media.Schema = &schema{AnyOf: []*schema{media.Schema, refer("Results")}}
		to.Content["application/json"] = media
	}
	if q.method == http.MethodGet {
		to.Headers = map[string]any{"ETag": apiReference{"#/components/headers/ETag"}}
	}
	return to
}

// apiParts are the components that operations refer to.
func apiParts() apiComponents {
	parts := apiComponents{Schemas: apiSchemas(), Responses: map[string]apiResponse{}, Headers: apiHeaders(), SecuritySchemes: map[string]any{
		"basic":  map[string]string{"type": "http", "scheme": "basic", "description": "Name and password. The roles that a query is for stand with it."},
		"bearer": map[string]string{"type": "http", "scheme": "bearer", "description": "A token. The roles that a query is for stand with it."},
	}}
	for status, name := range apiRefusals {
		response := apiResponse{Description: apiRefusalText[status]}
		if status >= 400 {
			response.Content = map[string]apiMedia{"application/problem+json": {Schema: refer("Problem")}}
		}
		switch status {
		case 304:
			response.Headers = map[string]any{"ETag": apiReference{"#/components/headers/ETag"}}
		case 401:
			response.Headers = map[string]any{"WWW-Authenticate": apiReference{"#/components/headers/WWW-Authenticate"}}
		case 429, 503:
			response.Headers = map[string]any{"Retry-After": apiReference{"#/components/headers/Retry-After"}}
		}
		parts.Responses[name] = response
	}
	return parts
}

func apiHeaders() map[string]apiHeader {
	return map[string]apiHeader{
		"ETag":             {"Stands for the answer. Send it as If-None-Match.", &schema{Type: "string"}},
		"Retry-After":      {"After how many seconds to ask again.", &schema{Type: "integer"}},
		"WWW-Authenticate": {"The credentials that would do.", &schema{Type: "string"}},
	}
}

func integerSchema() *schema { return &schema{Type: "integer", Format: "int64"} }

func apiSchemas() map[string]*schema {
	text := &schema{Type: "string"}
	closed := new(bool)
	return map[string]*schema{
		"Blob": {Type: "object", Description: "Bytes.", Required: []string{"$base64"}, Additional: closed,
			Properties: map[string]*schema{"$base64": {Type: "string", Encoding: "base64"}}},
		"Value": {Description: "Any value of SQLite.", AnyOf: []*schema{{Type: []string{"integer", "number", "string", "null"}}, refer("Blob")}},
		"Written": {Type: "object", Required: []string{"rows_affected", "last_insert_id"},
			Properties: map[string]*schema{"rows_affected": integerSchema(), "last_insert_id": integerSchema()}},
		"Results": {Type: "object", Required: []string{"results"}, Properties: map[string]*schema{"results": listOf(&schema{Type: "object"}),
			"rows_affected": {Type: "integer", Format: "int64", Description: "By all sets together."}}},
		"RawResults": {Type: "object", Required: []string{"results"}, Properties: map[string]*schema{"results": listOf(&schema{Type: "object"}),
			"time": {Type: "number", Description: "Seconds, with timings."}}},
		"Failure": {Type: "object", Description: "Why the rows end before their end.", Required: []string{"code", "message"},
			Properties: map[string]*schema{"code": codeSchema(), "message": text}},
		"Problem": {Type: "object", Description: "An error (RFC 9457).", Required: []string{"title", "status", "code"},
			Properties: map[string]*schema{
				"type":        {Type: "string", Format: "uri-reference"},
				"title":       {Type: "string", Description: "The status in words."},
				"status":      {Type: "integer"},
				"detail":      {Type: "string", Description: "What is wrong, in one sentence."},
				"code":        codeSchema(),
				"retry_after": {Type: "integer", Description: "After how many seconds to ask again."},
				"queue":       {Type: "integer", Description: "How many wait to write, with code busy."},
				"offset":      {Type: "integer", Description: "The byte of the statement that the error is about, from 0, with code sql_error."},
			}},
		"Statement": {Description: "SQL, or an array of it and its parameters: by their places, or one object with their names.", OneOf: []*schema{text,
			{Type: "array", MinItems: 1, Items: &schema{}}}},
	}
}

// codeSchema lists the usual codes. It is no enum: a later server may have more.
func codeSchema() *schema {
	said := "For programs. One of"
	for _, code := range []engine.Code{
		engine.CodeSQL, engine.CodeParameter, engine.CodeRequest, engine.CodeUnauthorized, engine.CodeDenied, engine.CodeNotReadOnly,
		engine.CodeNotFound, engine.CodeMethod, engine.CodeNotAcceptable, engine.CodeConstraint, engine.CodeConstraintUnique,
		engine.CodeConstraintPrimaryKey, engine.CodeConstraintForeignKey, engine.CodeConstraintNotNull, engine.CodeConstraintCheck,
		engine.CodeConstraintTrigger, engine.CodeConstraintDatatype, engine.CodePrecondition, engine.CodeTooManyRows, engine.CodeTooManyBytes,
		engine.CodeTooLarge, engine.CodeMediaType, engine.CodeTooMany, engine.CodeBusy, engine.CodeUnavailable, engine.CodeUnknown,
		engine.CodeTimeout, engine.CodeFull, engine.CodeReadOnlyDatabase, engine.CodeCorrupt, engine.CodeInternal,
	} {
		said += " " + string(code)
	}
	return &schema{Type: "string", Description: said + "; others may come."}
}

// A rawPlace is where clients send SQL of their own to a database.
type rawPlace struct {
	database  *database
	tag, name string // of the operations, and what their ids begin with
	wildcard  string // the name of the part of the path that names the database; "": none does
	prefix    string // of the path, with the route's
	path      string // the same from the route
}

// addRaw describes where clients send SQL of their own, if they may.
func (p *apiPaths) addRaw(at *rawPlace) {
	if !at.database.raw.read {
		return // who may write may read
	}
	get := p.rawOperation(at, http.MethodGet, "query", "Runs one statement that reads")
	get.RequestBody = nil
	get.Parameters = append(get.Parameters, textParameter("q", "The SQL."))
	get.Parameters[len(get.Parameters)-1].Required = true
	p.putRaw(at, get, http.MethodGet, "query")
	p.putRaw(at, p.rawOperation(at, http.MethodPost, "query", "Runs statements that read"), http.MethodPost, "query")
	p.putRaw(at, p.rawOperation(at, http.MethodPost, "request", "Runs statements that read, or write if that is allowed"), http.MethodPost, "request")
	if at.database.raw.write {
		p.putRaw(at, p.rawOperation(at, http.MethodPost, "execute", "Runs statements that write"), http.MethodPost, "execute")
	}
}

func textParameter(name, said string) apiParameter {
	return apiParameter{Name: name, In: "query", Description: said, Schema: &schema{Type: "string"}}
}

func (p *apiPaths) putRaw(at *rawPlace, op *apiOperation, method, verb string) {
	path, _ := p.claim(at.path + rawPrefix + "/" + verb)
	p.put(path, method, op)
}

func (p *apiPaths) rawOperation(at *rawPlace, method, verb, about string) *apiOperation {
	id, roles := at.name+"_db_"+verb, at.database.raw.roles
	if method == http.MethodGet {
		id += "_get"
	}
	op := &apiOperation{
		Tags:        []string{at.tag},
		OperationID: claimID(p.taken, id),
		Summary:     method + " " + at.prefix + rawPrefix + "/" + verb,
		Description: markdown(sentences(about, "In the shape of rqlite's HTTP API", whoMay(roles))),
		Security:    security(roles),
		RequestBody: &apiBody{Required: true, Content: map[string]apiMedia{
			"application/json": {Schema: &schema{Type: "array", MinItems: 1, Items: refer("Statement")}}}},
		Responses: map[string]any{},
	}
	if at.wildcard != "" {
		op.Parameters = append(op.Parameters, databaseParameter(at.wildcard))
	}
	flag := func(name, said string) {
		op.Parameters = append(op.Parameters, textParameter(name, said+" The name alone is enough."))
	}
	flag("associative", "Rows are objects.")
	flag("timings", "The answer says how long each statement took.")
	status := []int{400, 401, 403, 404, 406, 413, 415, 429, 500, 502, 503, 504}
	if verb != "query" {
		flag("transaction", "All statements are done, or none.")
		status = append(status, 409, 507)
	}
	op.Responses["200"] = apiResponse{Description: "A result for each statement; one that failed has error.", Content: map[string]apiMedia{
		"application/json": {Schema: refer("RawResults")}}}
	for _, code := range status {
		op.Responses[strconv.Itoa(code)] = apiReference{"#/components/responses/" + apiRefusals[code]}
	}
	return op
}
