package sqlite

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/child/web"
)

// An input is what a request gives a query: sets of arguments, of which most requests have one.
type input struct {
	sets  [][]engine.Arg
	array bool  // the content was an array: so is the answer
	limit int64 // rows of the page that is asked for; 0: no pages
}

// A set is the values of a query's parameters, by their places among its params.
type set struct {
	args  []engine.Arg
	given []bool
}

func (q *query) newSet() *set {
	return &set{args: make([]engine.Arg, len(q.params)), given: make([]bool, len(q.params))}
}

// read collects the parameters of a request: those of the path, the query string and the content. What is not a parameter is refused: a name
// that is written wrongly must not do nothing.
func (q *query) read(r *web.Request, m *web.Match) (*input, error) {
	common := q.newSet()
	for _, p := range m.Params {
		if err := q.put(common, p.Name, p.Value, inPath); err != nil {
			return nil, err
		}
	}
	if r.RawQuery != "" {
		search, err := url.ParseQuery(r.RawQuery)
		if err != nil {
			return nil, engine.Errorf(engine.CodeRequest, "the query string cannot be read: its escapes are wrong, or it has a semicolon")
		}
		if err := q.putAll(common, search, inQuery); err != nil {
			return nil, err
		}
	}
	in := &input{sets: make([][]engine.Arg, 0, 1)}
	if q.method != "GET" && r.Body.Length() != 0 {
		objects, err := q.content(r, in, common)
		if err != nil {
			return nil, err
		}
		if objects != nil {
			return in, q.takeSets(in, common, objects)
		}
	}
	if err := q.complete(common); err != nil {
		return nil, err
	}
	in.sets = append(in.sets, common.args)
	if q.page != nil {
		in.limit = q.ask(common.args)
	}
	return in, nil
}

// takeSets makes a set of each object, with what is common to all.
func (q *query) takeSets(in *input, common *set, objects []wire.Object) error {
	for i, object := range objects {
		own := common
		if in.array {
			own = &set{args: slices.Clone(common.args), given: slices.Clone(common.given)}
		}
		for j := range object {
			if err := q.takeMember(own, &object[j]); err != nil {
				return err
			}
		}
		if err := q.complete(own); err != nil {
			if in.array {
				err.Message = fmt.Sprintf("set %d: %s", i+1, err.Message)
			}
			return err
		}
		in.sets = append(in.sets, own.args)
	}
	return nil
}

// ask makes a query fetch one row more than its page has, which tells whether there is another page. It returns the rows of the page.
func (q *query) ask(args []engine.Arg) int64 {
	i := slices.IndexFunc(q.params, func(p param) bool { return p.name == "limit" })
	if i < 0 || args[i].Kind != engine.Integer {
		return 0
	}
	limit := args[i].Int
	args[i].Value = engine.IntegerOf(limit + 1)
	return limit
}

// put adds a parameter that is written as text.
func (q *query) put(values *set, name, text string, place paramPlace) error {
	i := q.index(name)
	if i < 0 {
		return q.unknown(name)
	}
	p := &q.params[i]
	switch {
	case place != inPath && p.in == inPath:
		return engine.Errorf(engine.CodeParameter, "parameter %q is a part of the path", name)
	case values.given[i]:
		return engine.Errorf(engine.CodeParameter, "parameter %q is given twice", name)
	}
	v, err := p.parse(text)
	if err != nil {
		return err
	}
	values.args[i].Value, values.given[i] = v, true
	return nil
}

func (q *query) putAll(values *set, fields url.Values, place paramPlace) error {
	for name, texts := range fields {
		for _, text := range texts {
			if err := q.put(values, name, text, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// index returns the place of a parameter, -1 if there is none of that name.
func (q *query) index(name string) int {
	for i := range q.params {
		if q.params[i].name == name {
			return i
		}
	}
	return -1
}

func (q *query) unknown(name string) *engine.Error {
	var known []string
	for i := range q.params {
		known = append(known, q.params[i].name)
	}
	if len(known) == 0 {
		return engine.Errorf(engine.CodeParameter, "there is no parameter %q: the query takes none", name)
	}
	slices.Sort(known)
	return engine.Errorf(engine.CodeParameter, "there is no parameter %q: the query takes %s", name, strings.Join(known, ", "))
}

// content reads the parameters of the content: of a form into common, of a JSON document as objects, which are not nil then.
func (q *query) content(r *web.Request, in *input, common *set) ([]wire.Object, error) {
	switch r.MediaType() {
	case "application/json":
		return q.document(r, in)
	case "application/x-www-form-urlencoded":
		form, err := r.Body.BytesMax(web.MaxFormBytes)
		if err != nil {
			return nil, requestError(err)
		}
		fields, err := url.ParseQuery(string(form))
		if err != nil {
			return nil, engine.Errorf(engine.CodeRequest, "the form cannot be read: its escapes are wrong, or it has a semicolon")
		}
		return nil, q.putAll(common, fields, inBody)
	case "multipart/form-data":
		if err := r.ParseMultipartForm(web.FormMemory); err != nil {
			return nil, requestError(err)
		}
		if r.MultipartForm != nil && len(r.MultipartForm.File) > 0 {
			return nil, engine.Errorf(engine.CodeParameter, "a file is no parameter: send its bytes in base64, in application/json")
		}
		return nil, q.putAll(common, r.PostForm, inBody)
	case "":
		if bytes, err := r.Body.BytesMax(1); len(bytes) == 0 && err == nil {
			return nil, nil
		}
	}
	return nil, engine.Errorf(engine.CodeMediaType, "the content must be application/json or a form")
}

// document reads a JSON object, or an array of them.
func (q *query) document(r *web.Request, in *input) ([]wire.Object, error) {
	body, err := r.Body.Bytes()
	if err != nil {
		return nil, requestError(err)
	}
	if len(body) == 0 {
		return nil, nil
	}
	objects, array, err := wire.ParseSets(body, q.batch)
	if err != nil {
		return nil, err
	}
	if array && (q.batch == 0 || q.info.ReadOnly) {
		return nil, engine.Errorf(engine.CodeRequest, "the query takes one object, and no array")
	}
	in.array = array
	return objects, nil
}

func (q *query) takeMember(values *set, m *wire.Member) error {
	i := q.index(m.Name)
	switch {
	case i < 0:
		return m.Errorf(engine.CodeParameter, "%s", q.unknown(m.Name).Message)
	case q.params[i].in == inPath:
		return m.Errorf(engine.CodeParameter, "it is a part of the path")
	case values.given[i]:
		return m.Errorf(engine.CodeParameter, "it is given twice")
	}
	v, err := q.params[i].take(m)
	if err != nil {
		return err
	}
	values.args[i].Value, values.given[i] = v, true
	return nil
}

// complete fills in what is not given.
func (q *query) complete(values *set) *engine.Error {
	for i := range q.params {
		p := &q.params[i]
		if !values.given[i] {
			if p.required {
				return engine.Errorf(engine.CodeParameter, "parameter %q is missing", p.name)
			}
			values.args[i].Value = p.fallback
		}
		if q.byName {
			values.args[i].Name = p.name
		}
	}
	return nil
}

// requestError is what a client is told of content that cannot be read.
func requestError(err error) error {
	code := engine.CodeRequest
	switch web.StatusOf(err) {
	case 413:
		code = engine.CodeTooLarge
	case 415:
		code = engine.CodeMediaType
	case 500:
		return err
	}
	return &engine.Error{Code: code, Message: err.Error(), Offset: -1}
}
