// Package lite is one connection to one SQLite file: what SQL may do on it, for how long, and what the file's present version is.
//
// It binds modernc.org/sqlite/lib, SQLite in Go, directly: the authorizer must see the names of functions, a statement its declared types, and
// a running statement the clock, for which the bindings there are have no room.
//
// A Conn belongs to one goroutine at a time. It knows two kinds of SQL: the server's own (Exec, and Start without a policy), which may do all,
// and that of an engine.Policy. The authorizer is set once, since setting it expires all statements, and asks the present policy; each
// kept statement belongs to the policy that it was compiled under, and is compiled anew under no other.
//
// The path of a statement: Start → bound by size and first word → compiled under the authorizer → bound → first step → Rows → Close.
//
// An Index watches the WAL index of a file, and a Turnstile lets one writer of all processes pass at a time. Both are of the file's path, not
// of a connection: a process has one of each for a file.
package lite
