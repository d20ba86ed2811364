// Package redirect is the module that sends clients elsewhere:
//
//	route "/old/" {
//	  redirect {
//	    to     = "/new/"
//	    status = 308
//	  }
//	}
//
// If to ends in '/' and the pattern does too, what the path has below the pattern is appended: /old/a goes to /new/a. The query is
// kept unless to has one.
package redirect

import (
	"strings"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Module answers with a redirect.
type Module struct{}

// Spec describes redirect { to, status }.
func (Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "redirect",
		Doc:  "sends the client to another URL",
		Attributes: []configs.Attribute{
			{Name: "to", Type: configs.String, Required: true, Doc: "path or URL"},
			{Name: "status", Type: configs.Int, Default: 308, Doc: "301, 302, 303, 307 or 308"},
		},
		Check: func(b *configs.Block) []configs.Problem {
			var problems []configs.Problem
			switch b.Int("status") {
			case 301, 302, 303, 307, 308:
			default:
				problems = append(problems, configs.Problem{At: "status", Message: "this is no status of a redirect",
					Cure: "use 301, 302, 303, 307 or 308"})
			}
			if to := b.String("to"); to == "" || !validTarget(to) {
				problems = append(problems, configs.Problem{At: "to", Message: "this is no path or URL that a Location field can hold",
					Cure: `write a path such as "/new/" or a URL such as "https://example.com/", spaces as %20`})
			}
			return problems
		},
	}
}

// validTarget reports whether s can stand in a Location field: visible ASCII without quotes (RFC 3986, 2).
func validTarget(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' {
			return false
		}
	}
	return true
}

// Open prepares the target.
func (Module) Open(b *configs.Block, env *module.Env) (module.Instance, error) {
	h := handler{to: b.String("to"), status: b.Int("status"), prefix: env.Prefix}
	h.below = strings.HasSuffix(h.to, "/") && strings.HasSuffix(env.Pattern, "/")
	h.keepQuery = !strings.Contains(h.to, "?")
	return module.Instance{Handler: h}, nil
}

type handler struct {
	to, prefix string
	status     int
	below      bool // append what the path has below the prefix
	keepQuery  bool
}

func (h handler) Serve(w *web.Response, r *web.Request) { h.ServeNow(w, r) }

func (h handler) ServeNow(w *web.Response, r *web.Request) bool {
	location := h.to
	if h.below {
		location += strings.TrimLeft(below(r.RawPath, h.prefix), `/\`) // a leading "//" or "/\" would name another host
	}
	if h.keepQuery && r.RawQuery != "" {
		location += "?" + r.RawQuery
	}
	w.Header().Set("Location", location)
	w.SetStatus(h.status)
	return true
}

// below returns what the still encoded path has behind the segments of prefix.
func below(rawPath, prefix string) string {
	for range strings.Count(prefix, "/") {
		_, rest, found := strings.Cut(rawPath, "/")
		if !found {
			return ""
		}
		rawPath = rest
	}
	return rawPath
}
