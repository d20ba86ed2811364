// Package module is what every kind of handler with a configuration of its own looks like: function, respond, redirect, static, and
// those that a program adds.
//
// A Module describes its block of the configuration (Spec) and opens one Instance for each route that holds such a block (Open). A
// generation of the configuration opens its instances before it serves and closes them after its last exchange. A module that needs
// more workers than the child's, or a queue of its own, asks for a pool by name (Env.Pool).
//
// A module that has something to do once for the whole server, and not in every child, is a Housekeeper as well: its chores run in a process
// of their own.
//
// A module lives in a folder of its own beside this file; a program links it in by listing it.
package module
