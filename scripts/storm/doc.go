// Command storm kills children of a running tined with SIGKILL while clients connect as
// fast as they can, and counts what the clients lose.
//
//	storm [-children 2] [-kills 10] [-clients 16] [-idle 200]
//
// The clients are strict: one request on each new connection, no second try. A connection
// that a killed child had accepted is lost, and nobody can save it. Every other failure is
// a fault of the server: its connection was in the queue of a shard, which the master holds
// too, or belonged to another child.
//
// From outside the two look alike, so they are told apart by the kernel: a child is first
// stopped (SIGSTOP) and, when all its threads stand still, its descriptors are compared
// with the kernel's table of connections. Then it is killed without having run again. What
// it had accepted is known exactly, and while it stands still the queue of its shard fills,
// which makes the trial harder, not easier. scripts/storm prints how many connections
// waited in queues at the moments of the kills.
//
// It exits with 1 when a connection was refused, when one was lost that no killed child had
// accepted, or when an idle one broke that belonged to another child. Linux only, loopback
// only.
package main
