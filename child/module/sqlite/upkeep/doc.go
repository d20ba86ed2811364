// Package upkeep looks after database files: it checkpoints, copies, restores, checks and migrates them.
//
// What it does for a running server it does in the housekeeper, as chores; the rest are commands of an operator, in a process of their own. It
// opens databases by package lite only. A database, its -wal and its -shm are never opened by another path while this process has a connection
// to them: closing that descriptor would drop SQLite's locks (https://www.sqlite.org/howtocorrupt.html, 2.2). To look at their sizes, stat(2)
// does.
package upkeep
