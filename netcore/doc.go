// Package netcore is the floor that tined stands on: pollers, sockets, the table of descriptors, the queue between
// workers and loop, the timing wheel and the buffers. It knows no HTTP, returns errors and never logs.
//
// It imports the standard library and golang.org/x/sys/unix, nothing else. Everything that touches Linux lives in
// files that end in _linux.go; on another system the build stops with one sentence (unsupported.go).
//
// # Ownership
//
// Each value has one owner, the loop goroutine, and takes no lock for it. Three things are open to every goroutine:
// [Poller.Wake], [Queue.Push] and [Now]. The functions on bare descriptors keep no state; two goroutines may call them
// as far as the kernel allows it.
//
// # A loop
//
//	n, err := poller.Wait(events, timeout)   // parks; ended by readiness, by time or by Wake
//	queue.Awake()
//	for _, e := range events[:n] {
//		fd, serial := netcore.SplitToken(e.Token)
//		conn := table.Get(fd, serial)        // nil: the slot has a new owner, drop the event
//		...
//	}
//	done = queue.Take(done)                  // what workers have finished, after every Wait
//	wheel.Advance(netcore.Now(), expire)
//	if !queue.Sleep() { timeout = 0 }        // something came in meanwhile: look only
//
// # Errors
//
// The calls of the hot path (Accept, Read, Recv, Write, Send, Writev, Sendfile, SendfileWaiting, ReadWaiting) return the
// bare unix.Errno, so that a caller compares with ==; EINTR is retried inside, EAGAIN is returned as it is. Those that do
// not wait for a disk (Sendfile, ReadCached) return [ErrUncached] or [ErrCacheUnknown] instead, bare too. All other
// functions wrap the errno with the operation and its object; use errors.Is there.
package netcore
