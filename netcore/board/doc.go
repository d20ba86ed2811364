// Package board is what the processes of one server share: segments of memory that the master makes and every child maps, and on top
// of them the state that programs register.
//
//   - A [Segment] is memory of one kind: a memory file that is sealed against shrinking and growing, a header, and records whose
//     words are read and written by atomics only. A kind is a layout, and its layout is a table in the file that names it.
//   - A [Counter] is a word of the segment of KindCounters: exact over all processes, without a lock, and untouched by the death of any
//     child, for the master holds the memory.
//   - A [Life] is what one life of a child says of itself: its heartbeat, its state, what it has counted and how long its exchanges took.
//     Its loop writes it, and the master reads it, whatever has become of the child. [Past] is the sums of the lives that have ended.
//   - A [Value] is a text that the master keeps and that every process has a copy of: reading it is reading a pointer, setting it is a
//     message (ADR 5). This package knows the copy, and not the messages.
//   - [Shared] is all that a program has registered. The master calls Share, a child Join; without processes all of it works in the
//     process's own memory.
//
// Whoever maps a segment takes nothing on trust from it but the words: kind, version and sizes are compared with what the process knows
// by itself when the segment is opened, and never read again.
//
// It may import the standard library, netcore and golang.org/x/sys/unix. It knows no HTTP, starts no goroutine and logs nothing.
package board

// On another system than Linux netcore stops the build with one sentence, before this package can with many.
import _ "github.com/tined/tined/netcore"
