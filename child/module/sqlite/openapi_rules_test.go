package sqlite

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// apiRules holds a document against the rules of https://spec.openapis.org/oas/v3.1.1.html, as far as descriptions of this package reach.
type apiRules struct {
	doc      map[string]any
	problems []string
	ids      map[string]bool
	tags     map[string]bool
	schemes  map[string]any
}

func validateAPI(doc map[string]any) []string {
	r := &apiRules{doc: doc, ids: map[string]bool{}, tags: map[string]bool{}}
	r.fields("the document", doc, "openapi info servers tags paths components", "openapi info")
	if v, _ := doc["openapi"].(string); !regexp.MustCompile(`^3\.1\.\d+$`).MatchString(v) {
		r.wrong("openapi: %q is no 3.1", v)
	}
	r.fields("info", objectIn(doc["info"]), "title description version", "title version")
	for _, server := range listIn(doc["servers"]) {
		r.fields("server", objectIn(server), "url description", "url")
	}
	for _, tag := range listIn(doc["tags"]) {
		r.fields("tag", objectIn(tag), "name description", "name")
		name, _ := objectIn(tag)["name"].(string)
		r.once(r.tags, "tag", name)
	}
	r.components(objectIn(doc["components"]))
	shapes := map[string]bool{}
	for path, item := range objectIn(doc["paths"]) {
		if !strings.HasPrefix(path, "/") {
			r.wrong("path %q does not begin with a slash", path)
		}
		r.once(shapes, "path", regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "{}"))
		r.fields(path, objectIn(item), "get put post delete options head patch trace", "")
		for method, op := range objectIn(item) {
			r.operation(path, method, objectIn(op))
		}
	}
	r.references(doc)
	slices.Sort(r.problems)
	return r.problems
}

func objectIn(v any) map[string]any { m, _ := v.(map[string]any); return m }
func listIn(v any) []any            { l, _ := v.([]any); return l }

func (r *apiRules) wrong(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *apiRules) once(seen map[string]bool, kind, name string) {
	if seen[name] {
		r.wrong("%s %q is there twice", kind, name)
	}
	seen[name] = true
}

// fields: an object has those that it must, and none but the allowed ones and extensions.
func (r *apiRules) fields(where string, m map[string]any, allowed, needed string) {
	for name := range m {
		if !slices.Contains(strings.Fields(allowed), name) && !strings.HasPrefix(name, "x-") {
			r.wrong("%s has no field %q", where, name)
		}
	}
	for name := range strings.FieldsSeq(needed) {
		if text, ok := m[name]; !ok || text == "" {
			r.wrong("%s is without a %s", where, name)
		}
	}
}

func (r *apiRules) components(m map[string]any) {
	r.fields("components", m, "schemas responses headers securitySchemes", "")
	for kind, named := range m {
		for name := range objectIn(named) {
			if !regexp.MustCompile(`^[a-zA-Z0-9._-]+$`).MatchString(name) {
				r.wrong("components: %s: %q is no name", kind, name)
			}
		}
	}
	for name, s := range objectIn(m["schemas"]) {
		r.schema(name, s)
	}
	for name, response := range objectIn(m["responses"]) {
		r.response(name, response)
	}
	for name, header := range objectIn(m["headers"]) {
		r.fields(name, objectIn(header), "description schema", "schema")
		r.schema(name, objectIn(header)["schema"])
	}
	r.schemes = objectIn(m["securitySchemes"])
	for name, scheme := range r.schemes {
		r.fields(name, objectIn(scheme), "type scheme description", "type scheme")
	}
}

func (r *apiRules) operation(path, method string, op map[string]any) {
	where := method + " " + path
	r.fields(where, op, "tags summary description operationId parameters requestBody responses security", "operationId responses")
	id, _ := op["operationId"].(string)
	r.once(r.ids, "operationId", id)
	for _, tag := range listIn(op["tags"]) {
		if name, _ := tag.(string); !r.tags[name] {
			r.wrong("%s: tag %q is not declared", where, name)
		}
	}
	r.parameters(where, path, listIn(op["parameters"]))
	if body, ok := op["requestBody"]; ok {
		r.fields(where+": body", objectIn(body), "description content required", "content")
		r.content(where, objectIn(objectIn(body)["content"]))
		if method == "get" || method == "head" || method == "trace" {
			r.wrong("%s: a body has no meaning there", where)
		}
	}
	responses := objectIn(op["responses"])
	if len(responses) == 0 {
		r.wrong("%s has no responses", where)
	}
	for status, response := range responses {
		if !regexp.MustCompile(`^([1-5]\d\d|default)$`).MatchString(status) {
			r.wrong("%s: %q is no status", where, status)
		}
		r.response(where+": "+status, response)
	}
	for _, way := range listIn(op["security"]) {
		for name := range objectIn(way) {
			if r.schemes[name] == nil {
				r.wrong("%s: no such security scheme: %q", where, name)
			}
		}
	}
}

func (r *apiRules) parameters(where, path string, parameters []any) {
	seen := map[string]bool{}
	for _, p := range parameters {
		m := objectIn(p)
		name, _ := m["name"].(string)
		in, _ := m["in"].(string)
		r.fields(where, m, "name in description required schema content", "name in")
		r.once(seen, where+": parameter", in+" "+name)
		if !slices.Contains([]string{"path", "query", "header", "cookie"}, in) {
			r.wrong("%s: %q is no place", where, in)
		}
		if in == "path" && m["required"] != true {
			r.wrong("%s: %q is in the path and not required", where, name)
		}
		if in == "path" && !strings.Contains(path, "{"+name+"}") {
			r.wrong("%s: the path has no {%s}", where, name)
		}
		if (m["schema"] == nil) == (m["content"] == nil) {
			r.wrong("%s: %q has not one of schema and content", where, name)
		}
		if content := objectIn(m["content"]); content != nil {
			if len(content) != 1 {
				r.wrong("%s: %q has not one content", where, name)
			}
			r.content(where, content)
		}
		r.schema(where+": "+name, m["schema"])
	}
	for _, name := range regexp.MustCompile(`\{([^}]*)\}`).FindAllStringSubmatch(path, -1) {
		if !seen["path "+name[1]] {
			r.wrong("%s: {%s} has no parameter", where, name[1])
		}
	}
}

func (r *apiRules) response(where string, v any) {
	m := objectIn(v)
	if m["$ref"] != nil {
		return
	}
	r.fields(where, m, "description headers content", "description")
	r.content(where, objectIn(m["content"]))
}

func (r *apiRules) content(where string, content map[string]any) {
	for typ, media := range content {
		if !regexp.MustCompile(`^[a-z]+/[a-z0-9.+-]+$`).MatchString(typ) {
			r.wrong("%s: %q is no media type", where, typ)
		}
		r.fields(where+": "+typ, objectIn(media), "schema", "")
		r.schema(where+": "+typ, objectIn(media)["schema"])
	}
}

const schemaFields = "$ref type format description contentEncoding contentMediaType enum default minimum maximum minLength maxLength pattern items minItems maxItems " +
	"properties required additionalProperties anyOf oneOf"

func (r *apiRules) schema(where string, v any) {
	m := objectIn(v)
	if m == nil {
		return
	}
	r.fields(where, m, schemaFields, "")
	types := listIn(m["type"])
	if one, ok := m["type"]; ok && types == nil {
		types = []any{one}
	}
	for _, typ := range types {
		if name, _ := typ.(string); !slices.Contains([]string{"null", "boolean", "object", "array", "number", "string", "integer"}, name) {
			r.wrong("%s: %q is no type", where, typ)
		}
	}
	if numberIn(m["minimum"]) > numberIn(m["maximum"]) && m["maximum"] != nil {
		r.wrong("%s: minimum is over maximum", where)
	}
	properties := objectIn(m["properties"])
	for _, name := range listIn(m["required"]) {
		if text, _ := name.(string); properties[text] == nil {
			r.wrong("%s: %q is required and has no schema", where, text)
		}
	}
	for name, property := range properties {
		r.schema(where+"."+name, property)
	}
	r.schema(where+"[]", m["items"])
	for _, one := range append(listIn(m["anyOf"]), listIn(m["oneOf"])...) {
		r.schema(where, one)
	}
}

func numberIn(v any) float64 {
	n, _ := v.(json.Number)
	f, err := n.Float64()
	if err != nil {
		return 0
	}
	return f
}

// references: each $ref of a value that is no name's own leads somewhere.
func (r *apiRules) references(v any) {
	switch node := v.(type) {
	case []any:
		for _, one := range node {
			r.references(one)
		}
	case map[string]any:
		if ref, ok := node["$ref"].(string); ok {
			var to any = r.doc
			for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				to = objectIn(to)[name]
			}
			if to == nil {
				r.wrong("%q leads nowhere", ref)
			}
		}
		for _, one := range node {
			r.references(one)
		}
	}
}
