// Package cli is the command line of every tined program, and the place where a process learns its role.
//
// One binary plays every part (docs/ARCHITECTURE.md). Main looks at what it has inherited and becomes
//
//	child    started by a master: package child
//	init     process 1, or `run --supervised`: starts the master, reaps, forwards signals (init.go)
//	master   `run`: package master
//	a client every other command; those that talk to a master find it as find.go says
//
// It is the only package that sees both the master and the child. It owns no state between commands, and it collects what the
// configuration may hold: the blocks of the modules, the limits and the workers, and the routes in code.
//
// Each command has a file of its own. A command returns nil or an error; exit.go says which status each kind of error is.
package cli
