package static

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/web"
)

// A rule says who may do what with the names that it is for.
type rule struct {
	name    string
	globs   []glob
	methods []string      // nil: all
	all     bool          // everybody may
	guard   *access.Guard // who may; nil: everybody, or nobody
}

// newRules reads the files with passwords too.
func newRules(o *options) ([]rule, error) {
	var rules []rule
	for _, option := range o.access {
		r := rule{name: option.name, methods: option.methods, all: option.allow == "all"}
		for _, pattern := range option.paths {
			g, err := parseGlob(pattern)
			if err != nil {
				return nil, fmt.Errorf("access %q: %w", option.name, err)
			}
			r.globs = append(r.globs, g)
		}
		if slices.Contains(r.methods, "GET") {
			r.methods = append(slices.Clone(r.methods), "HEAD") // who may have a file may have its header
		}
		if option.allow == "" {
			guard, err := access.New(option.who)
			if err != nil {
				return nil, fmt.Errorf("access %q: %w", option.name, err)
			}
			r.guard = guard
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// An admission is what the rules say to a request for one name. The zero value lets it through.
type admission struct {
	status     int      // 0, else the error
	undecided  bool     // a worker has to look
	challenges []string // of a 401
}

// fields are the header fields of the refusal.
func (a *admission) fields() []web.Field {
	var list []web.Field
	for _, value := range a.challenges {
		list = append(list, web.Field{Name: "WWW-Authenticate", Value: value})
	}
	return list
}

// ruleFor returns the first rule for a method and a name, nil if there is none.
func (s *server) ruleFor(method, name string) *rule {
	for i := range s.rules {
		r := &s.rules[i]
		if len(r.methods) > 0 && !slices.Contains(r.methods, method) {
			continue
		}
		for j := range r.globs {
			if r.globs[j].matches(name) {
				return r
			}
		}
	}
	return nil
}

// admit asks the rules. What changes files needs a rule that allows it. A precompressed sibling has to be allowed under the name of its file
// too: who gets it gets the content of that, and who writes it writes it. now: on the loop, where a password is not hashed.
func (s *server) admit(r *web.Request, method, name string, now bool) admission {
	a := s.admitName(r, method, name, now)
	if a.status != 0 || a.undecided {
		return a
	}
	for _, c := range s.siblings {
		if of, ok := strings.CutSuffix(name, c.Extension()); ok && !isDirectory(of) {
			return s.admitName(r, method, of, now)
		}
	}
	return a
}

// admitName asks the rules for one name.
func (s *server) admitName(r *web.Request, method, name string, now bool) admission {
	found := s.ruleFor(method, name)
	switch {
	case found == nil:
		if method == "GET" || method == "HEAD" {
			return admission{}
		}
		return admission{status: 403}
	case found.all:
		return admission{}
	case found.guard == nil:
		return admission{status: 403}
	}
	var answer access.Answer
	if now {
		answer = found.guard.JudgeNow(r)
	} else {
		answer = found.guard.Judge(r)
	}
	switch answer {
	case access.Granted:
		return admission{}
	case access.Undecided:
		return admission{undecided: true}
	case access.Unauthorized:
		return admission{status: 401, challenges: found.guard.Challenges()}
	case access.Busy:
		return admission{status: 503}
	}
	return admission{status: 403}
}

// permits reports whether the rules would let r do method with name, as far as it is known without hashing a password: a name that a
// listing leaves out.
func (s *server) permits(r *web.Request, method, name string) bool {
	if len(s.rules) == 0 {
		return method == "GET" || method == "HEAD"
	}
	a := s.admit(r, method, name, true)
	return a.status == 0 && !a.undecided
}
