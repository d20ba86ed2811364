// Package local serves SQLite files of this machine, as an engine.Database.
//
// A process has one opened file for each file, however many blocks and generations of the configuration name it: POSIX locks are the
// process's, and closing any descriptor of a file drops them. What is opened together, in this order, is closed in the other one:
//
//	claim of the file → WAL index (-shm), its claim → the anchor, a connection that stays → mapping of the index → readers, writer
//
// Readers are connections that cannot write. The writer (writer.go) is one connection, whose transactions carry what several requests write.
// The tag of a content is made from the WAL index (tag.go), without asking SQLite.
//
// A query's time ends its rows whoever has them: one timer for all readers of a file gives their connections back.
//
// Each File looks once a second whether its path still names the file that it has open. If not, it changes over, in a goroutine of its own:
// rows that are open end with the old file.
package local
