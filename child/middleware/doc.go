// Package middleware is what stands around handlers: Compress, RequestID, Timeout and Recover.
//
// Each is there twice, with one implementation. For programs it is a function that returns a web.Middleware:
//
//	tined.Use(middleware.Recover(middleware.RecoverOptions{}), middleware.Compress(middleware.CompressOptions{}))
//
// For configurations it is a block in a site or a route (All):
//
//	site "main" {
//	  recover {}
//	  compress {}
//	}
//
// A handler that answers on the server's loop (web.NonBlocking) does so behind all of them. What would take the loop more than some
// microseconds, which is to compress, is left to a worker.
package middleware

import (
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// All returns the blocks of this package for a configuration, in the order of their names.
func All() []module.Middleware {
	return []module.Middleware{
		block{compressSpec, func(b *configs.Block) web.Middleware { return Compress(compressOptions(b)) }},
		block{recoverSpec, func(b *configs.Block) web.Middleware { return Recover(recoverOptions(b)) }},
		block{requestIDSpec, func(b *configs.Block) web.Middleware { return RequestID(requestIDOptions(b)) }},
		block{timeoutSpec, func(b *configs.Block) web.Middleware { return Timeout(timeoutOptions(b)) }},
	}
}

// block is a middleware as a block of a configuration.
type block struct {
	spec func() configs.BlockSpec
	make func(b *configs.Block) web.Middleware
}

// Spec implements module.Middleware.
func (m block) Spec() configs.BlockSpec { return m.spec() }

// Wrap implements module.Middleware.
func (m block) Wrap(next web.Handler, b *configs.Block, _ *module.Env) (web.Handler, error) {
	return m.make(b)(next), nil
}
