package control

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A frame is one SEQPACKET message: a header of 16 bytes, little endian, then the body.
//
//	offset  size  field
//	     0     2  magic   0x6974, the letters "ti"
//	     2     2  version of the frame and of the messages' meaning
//	     4     2  kind
//	     6     2  files   how many open files travel beside it
//	     8     4  id      counts the frames of one sender, for logs; the receiver ignores it
//	    12     4  length  of the body in bytes
const (
	headerSize = 16
	magic      = 0x6974
)

// Version of the protocol. A change that an older peer would misunderstand raises it; new kinds
// and new JSON keys do not.
const Version = 1

const (
	// MaxBody is the longest body in bytes. With the header it stays far below the default socket
	// buffer, so that EMSGSIZE cannot happen. What is longer travels as a sealed memory file.
	MaxBody = 64 << 10
	// MaxLines is the most bytes of lines in one Log message.
	MaxLines  = MaxBody - maxStream - 1
	maxStream = 15 // bytes of a stream's name
	// MaxFiles is the most open files beside one message: the kernel's SCM_MAX_FD.
	MaxFiles = 253
)

// Sentinels of this package. All are wrapped with what was being done.
var (
	// ErrTooLong: the body is over MaxBody. Nothing was sent.
	ErrTooLong = errors.New("message is longer than 64 KiB")
	// ErrTooManyFiles: more than MaxFiles open files. Nothing was sent.
	ErrTooManyFiles = errors.New("more than 253 files beside one message")
	// ErrVersion: the peer speaks another version of the protocol.
	ErrVersion = errors.New("peer speaks another version of the control protocol")
	// ErrMalformed: the frame is not one of this protocol.
	ErrMalformed = errors.New("malformed control message")
	// ErrFilesLost: fewer open files arrived than were sent (this process is at its file limit).
	ErrFilesLost = errors.New("open files were lost on the way (file limit reached?)")
	// ErrBusy: the peer did not read, and the socket stayed full for the whole bound.
	ErrBusy = errors.New("peer does not read its control messages")
)

// header is the decoded fixed part of a frame.
type header struct {
	kind   Kind
	files  int
	id     uint32
	length int
}

// appendFrame appends the frame of m to b. It refuses a body over MaxBody.
func appendFrame(b []byte, m Message, files int, id uint32) ([]byte, error) {
	body, err := encodeBody(m)
	if err != nil {
		return b, fmt.Errorf("encode %s: %w", m.Kind(), err)
	}
	if len(body) > MaxBody {
		return b, fmt.Errorf("%s of %d bytes: %w", m.Kind(), len(body), ErrTooLong)
	}
	if files > MaxFiles {
		return b, fmt.Errorf("%s with %d files: %w", m.Kind(), files, ErrTooManyFiles)
	}
	le := binary.LittleEndian
	b = le.AppendUint16(b, magic)
	b = le.AppendUint16(b, Version)
	b = le.AppendUint16(b, uint16(m.Kind()))
	b = le.AppendUint16(b, uint16(files))
	b = le.AppendUint32(b, id)
	b = le.AppendUint32(b, uint32(len(body)))
	return append(b, body...), nil
}

// decodeFrame is the inverse of appendFrame. The message shares no memory with b.
func decodeFrame(b []byte) (Message, header, error) {
	var h header
	if len(b) < headerSize {
		return nil, h, fmt.Errorf("frame of %d bytes: %w", len(b), ErrMalformed)
	}
	le := binary.LittleEndian
	if m := le.Uint16(b); m != magic {
		return nil, h, fmt.Errorf("magic %#04x: %w", m, ErrMalformed)
	}
	if v := le.Uint16(b[2:]); v != Version {
		return nil, h, fmt.Errorf("version %d, ours is %d: %w", v, Version, ErrVersion)
	}
	h.kind = Kind(le.Uint16(b[4:]))
	h.files = int(le.Uint16(b[6:]))
	h.id = le.Uint32(b[8:])
	length := le.Uint32(b[12:])
	body := b[headerSize:]
	if length > MaxBody || int(length) != len(body) || h.files > MaxFiles {
		return nil, h, fmt.Errorf("%s: length %d with %d bytes and %d files: %w", h.kind, length, len(body), h.files, ErrMalformed)
	}
	h.length = int(length)
	m, err := decodeBody(h.kind, body)
	if err != nil {
		return nil, h, fmt.Errorf("%s: %w: %w", h.kind, ErrMalformed, err)
	}
	return m, h, nil
}

func encodeBody(m Message) ([]byte, error) {
	switch m := m.(type) {
	case *Log:
		return encodeLog(m)
	case *Connections:
		return encodeConnections(m)
	case *Unread:
		if len(m.Bytes) == 0 {
			return nil, errNoBytes
		}
		return m.Bytes, nil
	case *Unknown:
		return m.Body, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

func decodeBody(k Kind, body []byte) (Message, error) {
	entry, ok := kinds[k]
	if !ok {
		return &Unknown{Number: k, Body: bytes.Clone(body)}, nil
	}
	m := entry.make()
	switch m := m.(type) {
	case *Log:
		return m, decodeLog(m, body)
	case *Connections:
		return m, decodeConnections(m, body)
	case *Unread:
		if len(body) == 0 {
			return m, errNoBytes
		}
		m.Bytes = bytes.Clone(body)
		return m, nil
	}
	return m, json.Unmarshal(body, m)
}

var errNoBytes = errors.New("no bytes")

// encodeLog writes lines as they are: access logs of a busy server must not pay for JSON twice,
// and bytes that are no UTF-8 must survive.
func encodeLog(l *Log) ([]byte, error) {
	stream := l.Stream
	if stream == "" {
		stream = StreamLog
	}
	if strings.ContainsRune(stream, '\n') || len(stream) > maxStream {
		return nil, fmt.Errorf("stream %q", stream)
	}
	b := make([]byte, 0, len(stream)+1+len(l.Lines))
	b = append(b, stream...)
	b = append(b, '\n')
	return append(b, l.Lines...), nil
}

func decodeLog(l *Log, body []byte) error {
	stream, lines, ok := bytes.Cut(body, []byte{'\n'})
	if !ok || len(stream) == 0 || len(stream) > maxStream || len(lines) > MaxLines {
		return errors.New("log without a stream or too long")
	}
	l.Stream, l.Lines = string(stream), string(lines)
	return nil
}
