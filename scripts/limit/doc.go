// Command limit is the measure that no server on this machine can beat: one thread, one
// epoll, recv and send of a fixed answer and nothing else. It parses nothing: it takes the
// first request on a connection up to its empty line, believes that all the others are as
// long, and counts bytes.
//
// It is a yardstick for scripts/bench, not a server: do not show it to a network.
package main
