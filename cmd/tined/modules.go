//go:build linux

package main

import (
	"github.com/tined/tined"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/sqlite"
)

// modules is the one list of what tined links in beside the modules of every program (function, redirect, respond, static).
var modules = []module.Module{&sqlite.Module{}}

// addFunctions adds what a configuration can serve with function "NAME" {}.
func addFunctions(p *tined.Program) {
	p.Func("hello", hello)
	p.FuncHandler("echo", tined.HandlerFunc(echo))
}
