// Command hostile attacks a running tined, one way after the other, and watches what a
// well-behaved client sees meanwhile and what is left of the attack afterwards.
//
//	hostile [-connections 300] [-seconds 30] [-attack REGEXP] [-fail missed] [-list]
//
// Three processes take part. tined runs with two children and default limits on core 0. The
// attacker (`hostile attacker`) runs on core 1 in the kernel's idle class: it takes what the
// well-behaved client leaves. That one (`hostile polite`) sends requests at fixed times, on
// kept and on new connections, and counts an answer's latency from the time when its
// request should have been sent.
//
// An attack is passed when the well-behaved client has seen no error and a p99 under 50 ms;
// when no child has died; when every answer to the attacker has a status that the attack
// allows, and no connection that was owed one has been closed without; and when afterwards
// memory is back within 10 %, and descriptors, connections and workers are back at the
// figures from before. docs/bench.md tells more.
//
// Linux only, loopback only. It needs taskset and chrt.
package main
