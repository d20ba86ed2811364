package middleware

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
)

// pieceSize is how much of a source a packer reads at a time, in bytes.
const pieceSize = 32 << 10

// maxIdle is how often in a row a source may yield nothing without an error.
const maxIdle = 100

// errChanged: the entity tag that was told stands for what the file was.
var errChanged = errors.New("compress: the file has changed while it was sent")

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// A packer yields the content of a file or reader in a coding. Its reservation of an encoder ends with Close, the encoder itself is only
// taken once somebody reads.
type packer struct {
	encoders *coding.Encoders
	coding   coding.Coding

	file   web.File // content is read from here at the offset at, or
	at     int64
	reader io.Reader // from here
	left   int64     // bytes to come, -1: until io.EOF

	encoder *coding.Encoder
	packed  bytes.Buffer
	idle    int // reads in a row that yielded nothing
	ended   bool
	closed  bool
}

// memory makes content what is packed.
func (p *packer) memory(content []byte) {
	p.reader, p.left = bytes.NewReader(content), int64(len(content))
}

// Read implements io.Reader. What the source yields in a short read, such as an event of a stream, is not held back.
func (p *packer) Read(to []byte) (int, error) {
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	if p.encoder == nil {
		p.encoder = p.encoders.Get(p.coding, &p.packed)
	}
	if p.packed.Len() == 0 && !p.ended {
		piece := pieces.Get().(*[pieceSize]byte)
		defer pieces.Put(piece)
		for p.packed.Len() == 0 && !p.ended {
			if err := p.fill(piece[:]); err != nil {
				return 0, err
			}
		}
	}
	return p.packed.Read(to) // io.EOF once it is empty
}

// fill packs the next piece of the source.
func (p *packer) fill(piece []byte) error {
	if p.left >= 0 && p.left < int64(len(piece)) {
		piece = piece[:p.left]
	}
	got, err := 0, io.EOF
	if len(piece) > 0 {
		got, err = p.next(piece)
	}
	if got > 0 {
		p.idle = 0
		if _, failed := p.encoder.Write(piece[:got]); failed != nil {
			return failed
		}
	} else if p.idle++; err == nil && p.idle > maxIdle {
		return io.ErrNoProgress
	}
	if p.left > 0 {
		p.left -= int64(got)
	}
	switch {
	case p.left == 0 || err == io.EOF && p.left < 0:
		p.ended = true
		return p.encoder.Close()
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case got > 0 && got < len(piece) && p.left < 0:
		return p.encoder.Flush()
	}
	return nil
}

// next reads from the source.
func (p *packer) next(piece []byte) (int, error) {
	if p.file == nil {
		return p.reader.Read(piece)
	}
	if r, ok := p.file.(io.ReaderAt); ok { // it looks whether it still is what its entity tag stands for (web.ChangingFile)
		got, err := r.ReadAt(piece, p.at)
		p.at += int64(got)
		if got > 0 && err == io.EOF {
			err = nil // the next read will say so
		}
		return got, err
	}
	for {
		got, err := unix.Pread(int(p.file.Fd()), piece, p.at)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case got == 0:
			return 0, io.EOF // the file is shorter than it was
		}
		if f, ok := p.file.(web.ChangingFile); ok && f.Changed() { // asked behind the read, or a change between the two would be missed
			return 0, errChanged
		}
		p.at += int64(got)
		return got, nil
	}
}

// Close implements io.Closer.
func (p *packer) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	if p.encoder != nil {
		p.encoders.Put(p.coding, p.encoder)
		p.encoder = nil
	}
	p.encoders.Free()
	if p.file != nil {
		p.file.Release()
		return nil
	}
	if c, ok := p.reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
