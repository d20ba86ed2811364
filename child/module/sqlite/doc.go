// Package sqlite serves databases: SQLite files of this machine, and those of an rqlite cluster.
//
// It owns what clients see: named queries with their parameters (query.go, input.go, params.go), raw SQL in the shape of rqlite (raw*.go), who
// may (roles.go), results that were asked for before (cache.go), files that appear in the directory (discover.go), the page and its description
// (page.go, openapi.go). What runs SQL is behind package engine's interface: package local for files, package rqlite for a cluster. Package wire
// writes results, package upkeep looks after the files.
//
// # The way of a request
//
//  1. ServeNow (the loop): the path names a database and a query; the roles judge what they can without a password's hash; the database's tag, 96
//     bytes of shared memory, says what content it has; if the same question was answered from that content before, so it is now, or with 304.
//  2. Serve (a worker): the same, then the parameters are read, each by its type and bounds, and bound to the prepared statement.
//  3. What reads runs on a connection that cannot write. Small results are sent whole, large ones as a stream that a worker fills as the client
//     reads. Their entity tag is the tag of the snapshot that they were read from.
//  4. What writes waits for its place in the next transaction of the child's writer, and is answered when that transaction is on the disk.
//
// # Safety
//
// Nothing of a request becomes a part of a statement: values are bound. The authorizer denies what a role may not, when a statement is compiled,
// and what nobody may: ATTACH, PRAGMA, transactions, extensions, changes of the schema. The files of an open database are claimed
// (module.Claims), so that no other module of the process opens them: closing any descriptor of them would drop SQLite's locks.
package sqlite
