package wire

import "strconv"

// endNDJSON appends the line that says that the result is whole. No row is like it: its only name has a single '$'.
func (e *Encoder) endNDJSON(dst []byte, members []Extra) []byte {
	dst = strconv.AppendInt(append(dst, `{"$end":{"rows":`...), e.rows, 10)
	return append(appendExtras(dst, members), "}}\n"...)
}
