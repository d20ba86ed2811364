// Package rqlite runs statements on an rqlite cluster (https://rqlite.io, version 8.43) over its HTTP interface. A Cluster is an engine.Database.
//
// What rqlite does to values, and what stands against it:
//   - It writes a real like 1.0 as 1, makes text of dates and of blobs in text columns, and true of an integer in a boolean column. So each
//     column of a result is asked for with its type in front (see tagged), and what arrives is what SQLite holds.
//   - It takes a text like X'41' for a blob, and cannot take an infinity, or text that is no UTF-8: such arguments are refused.
//   - Its transactions go on after a RETURNING that failed: such a statement must be alone in an atomic batch.
//
// A cluster has no authorizer. A statement is compiled beforehand on an empty copy of the cluster's schema, in memory, under the policy; and it
// is sent together with a guard, a statement of the same transaction that compares the schema that the policy was held against with the one
// that the statement is about to use. If they differ, nothing is run: the copy is made anew, and the statement compiled again. So a view or a
// trigger that was redefined in between grants nothing. The SQLite of this program and the cluster's are not of one version: a statement that
// only one of them understands is refused by the other.
//
// Nothing runs while nothing is asked, but for the connections that wait to be used again: the last of them is closed after 15 s.
//
// It imports packages engine and lite.
package rqlite
