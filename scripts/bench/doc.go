// Command bench compares tined with nginx and with the limit (scripts/limit), side by side
// in one run, and says which of the bars hold. docs/bench.md tells how it measures and how
// to read its table.
//
//	bench [-rounds 15] [-seconds 3] [-case REGEXP] [-fair] [-blocked] [-json FILE]
//
// Three hidden commands are its own clients, which it starts as processes of their own so
// that they can be pinned: `bench open-loop`, `bench hog` and `bench sleepers`.
//
// Linux only, two cores at least, loopback only. It needs wrk, taskset and chrt.
package main
