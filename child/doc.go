// Package child is a child process: it accepts on the shards that the master lends it, and serves what arrives.
//
// One goroutine, the loop, owns every connection and blocks only in Poller.Wait. Handlers that may block run on workers; a worker
// names a connection by descriptor, serial and sequence number, never by pointer, and speaks to the loop through one queue. The
// agent goroutine is the child's end of the control channel and builds generations beside the loop.
//
// The way of a request through the files:
//
//  1. acceptor.go     a shard is readable: a burst of accepts, each connection gets its slot, serial and deadline
//  2. conn_read.go    the connection is readable: bytes to the parser, zero or more heads out of it
//  3. exchange.go     begin: sequence number, generation, route; receiver.go takes the body
//  4. exchange.go     a handler that cannot block answers at once; any other one is a job of a worker pool
//  5. worker side     runs the handler; a panic is a 500
//  6. loop.go         the completion comes back by the queue
//  7. pipeline.go     what is next in order is encoded (encode.go) and written (conn_write.go)
package child
