package sqlite

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The description of the interface as OpenAPI 3.1.1 (https://spec.openapis.org/oas/v3.1.1.html). The sections that are named in comments are its.

type apiDocument struct {
	OpenAPI    string                `json:"openapi"`
	Info       apiInfo               `json:"info"`
	Servers    []apiServer           `json:"servers"`
	Tags       []apiTag              `json:"tags,omitempty"`
	Paths      map[string]apiMethods `json:"paths"`
	Components apiComponents         `json:"components"`
	// Unlisted are the queries that a path of OpenAPI cannot tell from another's.
	Unlisted []string `json:"x-unlisted,omitempty"`
}

type apiInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type apiServer struct {
	URL         string `json:"url"`
	Description string `json:"description"`
}

type apiTag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// apiMethods is a path item: operations by method, in lower case.
type apiMethods map[string]*apiOperation

type apiOperation struct {
	Tags        []string              `json:"tags"`
	OperationID string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Description string                `json:"description,omitempty"`
	Parameters  []apiParameter        `json:"parameters,omitempty"`
	RequestBody *apiBody              `json:"requestBody,omitempty"`
	Responses   map[string]any        `json:"responses"`
	Security    []map[string][]string `json:"security"`
}

// An apiParameter has a Schema or a Content, never both (4.8.12).
type apiParameter struct {
	Name        string              `json:"name"`
	In          string              `json:"in"`
	Description string              `json:"description,omitempty"`
	Required    bool                `json:"required,omitempty"`
	Schema      *schema             `json:"schema,omitempty"`
	Content     map[string]apiMedia `json:"content,omitempty"`
	// Segments: the value's slashes stay slashes, which OpenAPI has no word for.
	Segments bool `json:"x-multi-segment,omitempty"`
}

type apiBody struct {
	Description string              `json:"description,omitempty"`
	Content     map[string]apiMedia `json:"content"`
	Required    bool                `json:"required,omitempty"`
}

type apiMedia struct {
	Schema *schema `json:"schema,omitempty"`
}

type apiResponse struct {
	Description string              `json:"description"`
	Headers     map[string]any      `json:"headers,omitempty"`
	Content     map[string]apiMedia `json:"content,omitempty"`
}

type apiReference struct {
	Ref string `json:"$ref"`
}

// apiHeader is a field of a response.
type apiHeader struct {
	Description string  `json:"description"`
	Schema      *schema `json:"schema"`
}

type apiComponents struct {
	Schemas         map[string]*schema     `json:"schemas"`
	Responses       map[string]apiResponse `json:"responses"`
	Headers         map[string]apiHeader   `json:"headers"`
	SecuritySchemes map[string]any         `json:"securitySchemes"`
}

// The methods that a path item has fields for (4.8.9).
var apiKnownMethods = []string{"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}

// openAPI returns the description of all named queries as JSON. It is the same for the same configuration, byte by byte, and says nothing of a
// request: the caller keeps it as long as the generation.
func (s *service) openAPI() []byte {
	doc := apiDocument{
		OpenAPI:    "3.1.1",
		Info:       apiInfo{Title: "Databases below " + s.base, Description: apiAbout},
		Servers:    []apiServer{{".", "where this description was found: it holds behind a proxy too"}},
		Paths:      map[string]apiMethods{},
		Components: apiParts(),
	}
	paths := apiPaths{doc: &doc, names: map[string][]string{}}
	paths.ids, paths.taken = s.operationIDs()
	for _, d := range s.listed() {
		paths.add(s, d)
	}
	paths.addDirect(s)
	doc.Info.Version = "0"
	sum := sha256.Sum256(encodeAPI(&doc))
	doc.Info.Version = hex.EncodeToString(sum[:6]) // of what is described: a new one says that something has changed
	return encodeAPI(&doc)
}

// encodeAPI writes doc down. encoding/json orders the keys of maps and keeps the fields of structs in theirs.
func encodeAPI(doc *apiDocument) []byte {
	text, err := json.Marshal(doc)
	if err != nil {
		panic("sqlite: the OpenAPI description: " + err.Error()) // all of its values are our own
	}
	return append(text, '\n')
}

// listed returns the databases in the order of the file, and what is for all files of the directory last.
func (s *service) listed() []*database {
	list := slices.Clone(s.order)
	if s.pattern != nil && !slices.Contains(list, s.pattern) {
		list = append(list, s.pattern)
	}
	return list
}

// prefix is what stands before the path of d's queries and below the base: "shop/", or "{database}/".
func (s *service) prefix(d *database) string {
	if d == s.pattern {
		return "{" + d.wildcard() + "}/"
	}
	return url.PathEscape(d.name) + "/"
}

// wildcard is the name of the part of the path that names the database, which is none that a query has already.
func (d *database) wildcard() string {
	name := "database"
	for slices.ContainsFunc(d.order, func(q *query) bool { return slices.Contains(wildcards(q.path), name) }) {
		name = "_" + name
	}
	return name
}

// template is the path of q below the base, with encoded literals and "{name}" or "{name...}" for what the caller fills in.
func (s *service) template(d *database, q *query) string {
	segments := strings.Split(q.path, "/")
	for i, segment := range segments {
		switch {
		case segment == "{$}":
			segments[i] = ""
		case !strings.HasPrefix(segment, "{"):
			if text, err := url.PathUnescape(segment); err == nil {
				segment = text
			}
			segments[i] = url.PathEscape(segment) // braces too
		}
	}
	return s.prefix(d) + strings.Join(segments, "/")
}

// wildcards returns the names in a path or template, "..." removed.
func wildcards(path string) (names []string) {
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") && segment != "{$}" {
			names = append(names, strings.TrimSuffix(segment[1:len(segment)-1], "..."))
		}
	}
	return names
}

// operationIDs gives each query a name of letters, digits and '_' that is its own in the document: "shop_item". A page's anchors are these too.
func (s *service) operationIDs() (ids map[*query]string, taken map[string]bool) {
	ids, taken = map[*query]string{}, map[string]bool{}
	for _, d := range s.listed() {
		for _, q := range d.order {
			name := d.name
			if d == s.pattern {
				name = "any"
			}
			ids[q] = claimID(taken, name+"_"+q.name)
		}
	}
	return ids, taken
}

func claimID(taken map[string]bool, name string) string {
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, name)
	id := name
	for n := 2; taken[id]; n++ {
		id = name + "_" + strconv.Itoa(n)
	}
	taken[id] = true
	return id
}

// apiPaths collects the operations.
type apiPaths struct {
	doc *apiDocument
	// names are the wildcards of a path, by the path with all of them called the same: two paths that differ in those names only are one (4.8.8).
	names map[string][]string
	ids   map[*query]string
	taken map[string]bool // operationIds
}

// claim returns the path that template has in the document, and what its wildcards are called there.
func (p *apiPaths) claim(template string) (path string, names []string) {
	names = wildcards(template)
	segments := strings.Split(template, "/")
	fill := func(name func(i int) string) string {
		filled, i := slices.Clone(segments), 0
		for at, segment := range filled {
			if strings.HasPrefix(segment, "{") {
				filled[at] = "{" + name(i) + "}"
				i++
			}
		}
		return "/" + strings.Join(filled, "/")
	}
	shape := fill(func(int) string { return "" })
	if first, ok := p.names[shape]; ok {
		names = first
	} else {
		p.names[shape] = names
	}
	return fill(func(i int) string { return names[i] }), names
}

// put adds an operation, unless its path and method are another's already.
func (p *apiPaths) put(path, method string, op *apiOperation) {
	item := p.doc.Paths[path]
	key := strings.ToLower(method)
	if item[key] != nil || !slices.Contains(apiKnownMethods, method) {
		p.doc.Unlisted = append(p.doc.Unlisted, op.OperationID+": "+op.Summary)
		return
	}
	if item == nil {
		item = apiMethods{}
		p.doc.Paths[path] = item
	}
	item[key] = op
}

// add describes what d has.
func (p *apiPaths) add(s *service, d *database) {
	tag := apiTag{Name: d.name}
	if d == s.pattern {
		tag.Description = "Every file of the directory that has no declaration of its own."
	}
	p.doc.Tags = append(p.doc.Tags, tag)
	for _, q := range d.order {
		template := s.template(d, q)
		path, names := p.claim(template)
		p.put(path, q.method, p.operation(s, d, q, template, names))
	}
	place := rawPlace{database: d, tag: d.name, name: d.name, prefix: s.base + s.prefix(d), path: s.prefix(d)}
	if d == s.pattern {
		place.name, place.wildcard = "any", d.wildcard()
	}
	p.addRaw(&place)
}

// addDirect describes the raw SQL of the database that is served at the route itself.
func (p *apiPaths) addDirect(s *service) {
	d := s.databases[s.only]
	switch {
	case s.only == "":
		return
	case d == nil && s.pattern != nil:
		d = s.pattern
		p.doc.Tags = append(p.doc.Tags, apiTag{Name: s.only})
	case d == nil:
		return
	}
	p.addRaw(&rawPlace{database: d, tag: s.only, name: "direct_" + s.only, prefix: s.base})
}

// operation describes one query. names are what the path's wildcards are called in the document.
func (p *apiPaths) operation(s *service, d *database, q *query, template string, names []string) *apiOperation {
	op := &apiOperation{
		Tags:        []string{d.name},
		OperationID: p.ids[q],
		Summary:     q.method + " " + s.base + template,
		Description: markdown(sentences(q.doc, q.about(), whoMay(q.access))),
		Security:    security(q.access),
		Responses:   q.responses(d == s.pattern),
	}
	if d == s.pattern {
		op.Parameters = append(op.Parameters, databaseParameter(names[0]))
	}
	written := wildcards(template)
	for i := range q.params {
		if par := &q.params[i]; par.in == inPath {
			at := slices.Index(written, par.name)
			if at < 0 {
				continue
			}
			in := par.describe(names[at])
			if in.Segments = strings.HasSuffix(template, "{"+par.name+"...}"); in.Segments {
				in.Description = sentences(in.Description, "The rest of the path: its slashes stay as they are")
			}
			if in.Name != par.name {
				in.Description = sentences(in.Description, markdown("The query calls it "+strconv.Quote(par.name)))
			}
			op.Parameters = append(op.Parameters, in)
		}
	}
	op.Parameters = append(op.Parameters, q.unbound(written, names, op.Parameters)...)
	for i := range q.params {
		if q.params[i].in == inQuery {
			op.Parameters = append(op.Parameters, q.params[i].describe(q.params[i].name))
		}
	}
	op.RequestBody = q.body()
	return op
}

// unbound describes the wildcards of the path that the statement takes no parameter from: each must be described nevertheless (4.8.12.1).
func (q *query) unbound(written, names []string, have []apiParameter) (more []apiParameter) {
	for i, name := range names {
		if !slices.ContainsFunc(have, func(p apiParameter) bool { return p.Name == name }) {
			more = append(more, apiParameter{Name: name, In: "path", Required: true, Schema: &schema{Type: "string"},
				Segments: strings.HasSuffix(q.path, "{"+written[i]+"...}")})
		}
	}
	return more
}

func databaseParameter(name string) apiParameter {
	return apiParameter{Name: name, In: "path", Required: true, Schema: &schema{Type: "string", MinLength: 1},
		Description: "The database's name: its file's, without the extension."}
}

// about says what the types cannot say.
func (q *query) about() string {
	var list []string
	if q.row == rowSingle {
		list = append(list, "Answers with one row, or 404")
	}
	if q.batch > 0 && q.takesContent() {
		list = append(list, "Takes an array of up to "+strconv.Itoa(q.batch)+" sets of parameters too, which are written together or not at all")
	}
	if q.page != nil {
		list = append(list, "A page has "+strconv.Itoa(q.page.size)+" rows, or up to "+strconv.Itoa(q.page.most)+
			" if limit says so; next, where there is one, leads to the rows behind it")
	}
	if q.limits.MaxRows > 0 && q.answersRows() && q.row == rowMany {
		list = append(list, "More than "+strconv.FormatInt(q.limits.MaxRows, 10)+" rows are an error")
	}
	if q.limits.Timeout > 0 {
		list = append(list, "It may run for "+q.limits.Timeout.String())
	}
	return sentences(list...)
}

// sentences joins texts, each with a period at its end.
func sentences(list ...string) string {
	var b strings.Builder
	for _, text := range list {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(text)
		if !strings.ContainsAny(text[len(text)-1:], ".!?:") {
			b.WriteByte('.')
		}
	}
	return b.String()
}

// markdown keeps a text from being anything but that: descriptions are CommonMark, in which "<" can begin HTML and "[" a link.
func markdown(text string) string {
	return strings.NewReplacer("<", "&lt;", "[", `\[`, "&", "&amp;").Replace(text)
}

// whoMay names the roles: "For the roles reader and writer".
func whoMay(roles []*role) string {
	if len(roles) == 0 {
		return "For everybody"
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = r.name
	}
	if len(names) == 1 {
		return "For the role " + names[0]
	}
	return "For the roles " + strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// schemes says what credentials r takes. Neither: its rule is the client's address.
func (r *role) schemes() (basic, bearer bool) {
	if r.guard == nil {
		return false, false
	}
	for _, challenge := range r.guard.Challenges() {
		basic = basic || strings.HasPrefix(challenge, "Basic ")
		bearer = bearer || strings.HasPrefix(challenge, "Bearer ")
	}
	return basic, bearer
}

// security lists the ways in, one of which is enough; {} is without credentials (4.8.30). The names are the roles that a way is for.
func security(roles []*role) []map[string][]string {
	ways := []map[string][]string{} // empty, not nil: everybody
	open := false
	for _, r := range roles {
		basic, bearer := r.schemes()
		if basic {
			ways = append(ways, map[string][]string{"basic": {r.name}})
		}
		if bearer {
			ways = append(ways, map[string][]string{"bearer": {r.name}})
		}
		open = open || !basic && !bearer
	}
	slices.SortStableFunc(ways, func(a, b map[string][]string) int { return cmp.Compare(len(a["bearer"]), len(b["bearer"])) })
	if open {
		ways = append(ways, map[string][]string{})
	}
	return ways
}
