// Command lab answers the questions about polling, locking, waking and batching that the
// design of tined rests on, by measuring. It writes docs/lab.md: the tables between its
// markers, the plots beside it, and the figures in docs/lab/data.json.
//
//	lab [-quick] [-only REGEXP] [-page docs/lab.md] [-draw] [-limit 10m]
//
// Every experiment compares contenders in interleaved rounds, so that what disturbs the
// machine for a while disturbs them all, and states ratios taken within a round: their
// median with its 95 % interval.
//
// Two hidden commands are processes that it starts itself: `lab peers` has the other ends
// of connections, `lab acceptor` waits on a listening socket. Both end when their standard
// input does, so that none outlives the lab.
//
// Linux only, loopback only.
package main
