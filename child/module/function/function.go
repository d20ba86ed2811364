// Package function is the module that serves a function of the program by its name:
//
//	route "GET /hello/{name}" {
//	  function "hello" {}
//	}
package function

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Module serves the functions that it was made with.
type Module struct {
	functions map[string]web.Handler
}

// New returns the module for functions by name. The map must not change afterwards.
func New(functions map[string]web.Handler) *Module { return &Module{functions} }

// Spec describes function "NAME" {}.
func (m *Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name:   "function",
		Labels: []string{"name"},
		Doc:    "answers with a function of the program",
		Check: func(b *configs.Block) []configs.Problem {
			name := b.Label(0)
			if m.functions[name] != nil {
				return nil
			}
			known := "this program registers none"
			if names := slices.Sorted(maps.Keys(m.functions)); len(names) > 0 {
				known = "the program has " + strings.Join(names, ", ")
			}
			return []configs.Problem{{Message: fmt.Sprintf("there is no function %q", name), Cure: known}}
		},
	}
}

// Open returns the function.
func (m *Module) Open(b *configs.Block, _ *module.Env) (module.Instance, error) {
	h := m.functions[b.Label(0)]
	if h == nil {
		return module.Instance{}, fmt.Errorf("there is no function %q", b.Label(0))
	}
	return module.Instance{Handler: h}, nil
}
