//go:build linux

// Tined is the server with nothing but its configuration: modules.go lists what is linked in.
package main

import "github.com/tined/tined"

// version is set by the linker: -X main.version=1.2.3.
var version string

func main() {
	program := tined.New(tined.Options{
		Name:    "tined",
		Version: version,
		Short:   "a prefork HTTP server",
		Config:  "/etc/tined/tined.hcl",
		Modules: modules,
	})
	addFunctions(program)
	program.Main()
}
