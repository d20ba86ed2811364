package module

import (
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// A Middleware is a block that a site or a route may hold: it is put around what answers. Several of one place are wrapped in the
// order of the file, the first outermost; those of a site stand outside those of its routes. Its methods may be called from several
// goroutines.
type Middleware interface {
	// Spec describes the block: its name, attributes, defaults and checks, and no labels. As with a Module's, it looks at nothing
	// outside the block.
	Spec() configs.BlockSpec
	// Wrap puts a handler around next, for one route of a new generation, in a child. It returns a web.NonBlocking where the
	// requests that next answers on the loop may stay there. An error refuses the generation.
	Wrap(next web.Handler, block *configs.Block, env *Env) (web.Handler, error)
}
