package http1

// Span is a piece of the receive buffer by offset and length in bytes, so that it stays right when the buffer moves.
// Offsets count from the first byte of the message.
type Span struct{ Off, Len uint32 }

// In gives the bytes of the span; buf begins at the first byte of the message.
func (s Span) In(buf []byte) []byte {
	return buf[s.Off : s.Off+s.Len : s.Off+s.Len]
}

// Of gives the span of a copy of the head.
func (s Span) Of(base string) string { return base[s.Off : s.Off+s.Len] }

func span(from, to int) Span { return Span{uint32(from), uint32(to - from)} }

// FieldSpan is one field line: the name as it was sent, the value without the whitespace around it.
type FieldSpan struct{ Name, Value Span }
