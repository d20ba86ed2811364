package web

import (
	"errors"
)

// PushBacklog is how many bytes of a PushStream may wait for a slow client; Push refuses what would exceed it.
const PushBacklog = 64 << 10

// Errors of a PushStream.
var (
	// ErrPushFull says that the client is slow: what it has not taken yet fills PushBacklog.
	ErrPushFull = errors.New("the client does not keep up: too much of the stream is unsent")
	// ErrPushClosed says that the stream is over, by Close or because the client has gone.
	ErrPushClosed = errors.New("the stream is closed")
)

// A PushStream is a response that goes on after its handler has returned: server-sent events and the like. It holds no goroutine and
// no worker, so that a child keeps as many open as it has descriptors. Its methods may be called by any goroutine, also by several at
// a time, and never wait for the client.
//
// A client that closes its connection is noticed when something is pushed to it: until then the close looks like the end of its request,
// and who has ended the request still gets the answer. A program that has nothing to say for long should therefore ping, every 15 to 60 s
// (see Ping), which also keeps proxies from closing the connection. Without pings the server notices by TCP keep-alive, within two
// minutes.
type PushStream struct {
	pusher Pusher
}

// Push queues p for the client, whole, and sends it as soon as the socket takes it. It copies p. ErrPushFull: nothing was queued, for
// the client does not keep up; ErrPushClosed: nobody is there any more. p is never split up among what others push. More than PushBacklog
// at once is always refused.
func (s *PushStream) Push(p []byte) error { return s.pusher.Push(p) }

// Close ends the response after what was pushed. It may be called more than once.
func (s *PushStream) Close() error { return s.pusher.Close() }

// Done is closed when the stream is over, by Close or because the client has gone: it has left, it took what was sent slower than
// limits.write_rate, the child's drain_timeout was over, or after a reload retired_generations or retired_timeout has ended it.
func (s *PushStream) Done() <-chan struct{} { return s.pusher.Done() }

// Draining is closed when the server begins to drain: the program should say what is left to say and close its streams, so that their
// clients come back to another process. It is the same channel for all streams of a process; waiting for one is enough. Streams that are
// open at the end of drain_timeout are ended by the server, as Close would, and what their client has not taken is lost.
func (s *PushStream) Draining() <-chan struct{} { return s.pusher.Draining() }

// Push sends the head of the response and returns a stream on which the response goes on, after the handler has returned, until Close.
// What Write, Send… and SetStatus do afterwards has no effect: they report ErrCommitted where they can. The stream is chunked, or ends with
// the connection for HTTP/1.0; a Content-Length, trailers and filters (see Filter) do not go with it. Where no content may follow (HEAD,
// 204, 304) the response is complete at once, and so is the stream.
//
// Further requests of the connection wait. The handler's deadline and its context end with the handler; limits.write_timeout holds for
// clients that do not take what was sent.
func (w *Response) Push() (*PushStream, error) {
	switch {
	case w.stream:
		return nil, ErrCommitted
	case w.engine == nil:
		return nil, errors.ErrUnsupported
	}
	pusher, err := w.engine.Push(w)
	if err != nil {
		return nil, err
	}
	w.become(BodyCollected)
	w.stream, w.content = true, nil
	return &PushStream{pusher}, nil
}
