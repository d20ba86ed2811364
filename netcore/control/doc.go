// Package control is the one home of the protocol between the master and its children.
//
// It owns the messages, their framing on a SEQPACKET socket, the passing of open files beside
// them, the sealed memory files that carry what is too long for a message, and the list of what a
// child inherits (heritage). PROTOCOL.md says the same for readers of other languages.
//
// It knows no HTTP and no configuration, logs nothing and starts nothing. It may import the
// standard library, netcore and golang.org/x/sys/unix.
//
// The two ends of one channel:
//
//	ours, theirs, err := control.Pair()     // master: theirs becomes the child's descriptor 3
//	err = ours.Send(&control.Accept{})
//
//	h, err := control.Inherited()           // child
//	m, files, err := h.Conn.Receive()       // m is *control.Accept
package control

// On another system than Linux netcore stops the build with one sentence, before this package can
// with many.
import _ "github.com/tined/tined/netcore"
