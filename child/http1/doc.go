// Package http1 is the wire format of HTTP/1.1 (RFC 9110 and RFC 9112): it turns received bytes into request heads
// ([Parser]) and bodies ([Chunked]), and status, fields and chunks into bytes (the Append functions).
//
// It does no I/O, reads no clock and keeps no buffer of the connection: bytes in, values out, and partial input is a
// normal answer. It imports the standard library only.
//
// It is strict. Wherever the RFCs let a recipient choose between mending a message and refusing it, this package
// refuses, since every mended message is one that a proxy in front may have understood in another way. An [Error]
// carries the status to answer with; after any error the position of the next message is unknown, so the connection
// must be closed after the answer.
//
// One invariant holds for both state machines, and is fuzzed: however the input is split over calls of Feed, the
// result is that of the whole input in one call.
//
//	var p http1.Parser
//	for {
//		buf = append(buf, receive()...)
//		n, err := p.Feed(buf, nil)
//		if err != nil {
//			return answer(err.(*http1.Error).Status)
//		}
//		if n > 0 {
//			serve(&p.Head, buf)
//			buf = buf[n:]
//		}
//	}
package http1
