// Package respond is the module that answers every request of a route with the same response:
//
//	route "GET /plain" {
//	  respond {
//	    status       = 200
//	    body         = "Hello, World!"
//	    content_type = "text/plain"
//	  }
//	}
package respond

import (
	"maps"
	"slices"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Module answers with a fixed response, encoded once and sent from the loop.
type Module struct{}

// Spec describes respond { status, body, content_type, headers }.
func (Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "respond",
		Doc:  "answers with a fixed response",
		Attributes: []configs.Attribute{
			{Name: "status", Type: configs.Int, Default: 200, Min: 200, Max: 599, Doc: "status code"},
			{Name: "body", Type: configs.String, Default: "", Doc: "content, sent as it stands"},
			{Name: "content_type", Type: configs.String, Default: "text/plain; charset=utf-8", Doc: "Content-Type of a body"},
			{Name: "headers", Type: configs.StringMap, Doc: "further header fields"},
		},
		Check: func(b *configs.Block) []configs.Problem {
			var problems []configs.Problem
			if s := b.Int("status"); (s == 204 || s == 304) && b.String("body") != "" {
				problems = append(problems, configs.Problem{At: "body", Message: "a response with this status has no body (RFC 9110, 6.4.1)",
					Cure: "remove body, or choose another status"})
			}
			if !web.ValidFieldValue(b.String("content_type")) {
				problems = append(problems, configs.Problem{At: "content_type", Message: "a field value holds no control characters",
					Cure: `write for example "text/html; charset=utf-8"`})
			}
			for name, value := range b.StringMap("headers") {
				switch {
				case !web.ValidFieldName(name):
					problems = append(problems, configs.Problem{At: "headers", Message: "\"" + name + "\" is no field name (RFC 9110, 5.1)",
						Cure: "use letters, digits and '-'"})
				case web.ServerField(name):
					problems = append(problems, configs.Problem{At: "headers", Message: name + " is written by the server", Cure: "remove it"})
				case !web.ValidFieldValue(value):
					problems = append(problems, configs.Problem{At: "headers", Message: "the value of " + name + " holds control characters",
						Cure: "write it on one line"})
				}
			}
			return problems
		},
	}
}

// Open encodes the response.
func (Module) Open(b *configs.Block, _ *module.Env) (module.Instance, error) {
	var header web.Header
	body := b.String("body")
	if body != "" {
		header.Set("Content-Type", b.String("content_type"))
	}
	headers := b.StringMap("headers")
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		header.Set(name, headers[name])
	}
	status := b.Int("status")
	f := &fixed{response: web.NewFixed(status, &header, []byte(body))}
	if status/100 == 2 { // else conditions are ignored (RFC 9110, 13.2.1)
		header.Del("Content-Type")
		f.content = &web.Representation{Size: int64(len(body)), ETag: header.Get("ETag")}
		f.notModified = web.NewFixed(304, &header, nil)
		f.failed = web.NewFixed(412, new(web.Header), nil)
	}
	return module.Instance{Handler: f}, nil
}

type fixed struct {
	response            *web.Fixed
	content             *web.Representation // nil: no conditions
	notModified, failed *web.Fixed
}

func (f *fixed) Serve(w *web.Response, r *web.Request) { f.ServeNow(w, r) }

func (f *fixed) ServeNow(w *web.Response, r *web.Request) bool {
	response := f.response
	if f.content != nil {
		switch f.content.Evaluate(r).Status {
		case 304:
			response = f.notModified
		case 412:
			response = f.failed
		}
	}
	w.SendFixed(response)
	return true
}
