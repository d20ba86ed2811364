// Package link makes a network with a delay inside one machine: two network namespaces of this process, a TUN device in each, and a
// carrier that moves whole IP packets from one to the other, in order, after a fixed time. SYN, RST and FIN are the kernels' own, so
// what is lost between the two is lost on a real network too; on loopback such losses hide, for a connection is made and ended at once.
//
//	l, err := link.Start(25 * time.Millisecond) // each way: a round trip takes 50 ms
//	l.Server(func() { … start the server … })   // whatever is made in there, a socket or a process, belongs to that end
//	l.Client(func() { … open a socket … })
//
// A network namespace belongs to a thread, and a socket to the namespace of the thread that made it. The two functions run on threads of
// their own: what they start with `go` does not. A socket that was made in there may be used from everywhere.
//
// It needs the right to make network namespaces (CAP_SYS_ADMIN) and /dev/net/tun. See [Admit] for those who are not root. Linux only.
// Imports the standard library and golang.org/x/sys.
package link
