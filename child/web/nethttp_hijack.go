package web

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// hijackBuffer is the size of the buffers that Hijack returns, in bytes.
const hijackBuffer = 4 << 10

// Hijack implements http.Hijacker. What was received behind the request is in the reader's buffer. If WriteHeader was called, the head is
// sent, as some WebSocket libraries want it.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch err := w.usable(); {
	case err != nil:
		return nil, nil, err
	case w.written > 0:
		return nil, nil, errors.New("web: Hijack after content was written")
	}
	conn, unread, err := w.response.Detach()
	if err != nil {
		return nil, nil, notSupported(err)
	}
	w.conn = conn
	if w.wrote {
		if _, err := conn.Write(w.appendHead(nil)); err != nil {
			conn.Close()
			return nil, nil, err
		}
	}
	reader := bufio.NewReaderSize(conn, hijackBuffer)
	if len(unread) > 0 {
		reader = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(unread), conn), max(hijackBuffer, len(unread)))
		if _, err := reader.Peek(len(unread)); err != nil {
			conn.Close()
			return nil, nil, err // cannot be: the bytes are in memory
		}
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, hijackBuffer)), nil
}

// appendHead appends the head of WriteHeader for a connection that the server has no part in any more: what follows it, and where that
// ends, is the handler's.
func (w *responseWriter) appendHead(dst []byte) []byte {
	status := w.response.outcome.Status
	dst = append(dst, w.request.Proto...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\nDate: "...)
	dst = time.Now().UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\n"...)
	for name, value := range w.response.Header().All() {
		if name == "Date" || name == "Content-Type" && value == "" {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
