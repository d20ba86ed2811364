// Command storm tries whether a running server keeps its connections while something happens to its processes: children and masters die,
// configurations change, the number of children changes, loops stand still. It starts the real server, real clients, and counts what the
// clients lose, by kind.
//
//	storm [-scenario kill|reload|vote|scale|hang|master|upgrade|handoff|rollback|assault|replace|sqlite|load|all] [-link 50ms] [-json FILE] [sizes]
//
//	kill     children die by SIGKILL, one after the other, while clients connect as fast as they can
//	reload   the configuration changes under keep-alive clients, idle connections, downloads and a storm of connects
//	vote     reloads that some child refuses, or dies in; several at once
//	scale    the number of children falls and rises under a storm of connects, over a link with a delay
//	hang     the loop of a child spins, blocks, or is stopped from outside
//	master   the master dies by SIGKILL, and the next one takes its children over
//	upgrade  the program is replaced again and again, under all kinds of clients
//	handoff  one upgrade with very many idle connections on busy cores
//	rollback upgrades to versions that are no good, and are taken back
//	assault  masters and children, old and new, die by SIGKILL at any moment of an upgrade
//	replace  files are replaced, overwritten, truncated and made again under clients that check every byte
//	sqlite   clients and an outside program write one database; children and masters die (-kills), or its disk fills (-full)
//	load     clients for a server that is there already, until SIGTERM; no part of all
//
// The clients are strict: nothing is tried a second time. A connection that a killed child had accepted is lost, and nobody can save it.
// Every other failure is a fault of the server: its connection was in the queue of a shard, which the master holds too, or belonged to
// another child.
//
// From outside the two look alike, so they are told apart by the kernel: a child is first stopped (SIGSTOP) and, when all its threads stand
// still, its descriptors are compared with the kernel's table of connections. Then it is killed without having run again. What it had
// accepted is known exactly, and while it stands still the queue of its shard fills, which makes the trial harder, not easier.
//
// Configurations are numbered, and each answers with its number: an answer of a configuration that is not the newest any more, or was never
// committed, is a wrong answer.
//
// Before each upgrade the configuration is another one, which only the next version reads, and so an answer names its version too. Each
// version runs from a file of its own, by which its processes are known.
//
// In replace each line of a file says of which version it is, and the clients know when each version was the newest one. Which of the mixed
// bodies are faults of the server, and which of the kernel's making, says jury.
//
// With -link the clients are at the other end of a link with a delay (scripts/internal/link), for loopback hides losses. A run in which
// the link had to drop packets, or in which the clients were too slow, proves nothing about the bars: it says so, and does not fail.
//
// The load is for whoever does something to a server himself, such as installing another version of its package: started in the server's
// network, it asks the host "storm" for GET /plain, for the file /files/stream that the other scenarios download, and for POST /echo, which is
// the function echo. It says on standard error when all clients are there.
//
// Scenarios in which a child has to misbehave run scripts/storm/unruly in the place of bin/tined. A version that is sick is unruly too:
// its file's name says what it suffers from. Without sizes a scenario takes about ten seconds. It prints a table and
// exits with 1 when a bar is missed. Linux only.
package main
