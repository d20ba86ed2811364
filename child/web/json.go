package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// JSON decodes the content, one JSON value, into v. It wants a Content-Type of application/json or one that ends in +json (RFC 6839).
// Body.Limit and limits.body bound its size. Errors are RequestErrors: 415 another type, 413 too large, 400 malformed, or not of v's
// type. For a stream of values, or to refuse unknown fields, use json.NewDecoder(&r.Body).
func (r *Request) JSON(v any) error {
	if t := r.MediaType(); t != "application/json" && !(strings.Contains(t, "/") && strings.HasSuffix(t, "+json")) {
		return &RequestError{Status: 415, Err: fmt.Errorf("the content is %q, not application/json", t)}
	}
	content, err := r.Body.Bytes()
	if err != nil {
		return unreadable(err)
	}
	if err := json.Unmarshal(content, v); err != nil {
		var wrong *json.InvalidUnmarshalError
		if errors.As(err, &wrong) {
			return err // the programmer's mistake
		}
		return &RequestError{Status: 400, Err: err}
	}
	return nil
}

// SendJSON makes v, encoded as JSON, the body, with the type application/json unless another is set. It fails, and changes nothing, if
// v cannot be encoded.
func (w *Response) SendJSON(v any) error {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content) // ends with a newline
	if err := encoder.Encode(v); err != nil {
		return err
	}
	if w.Streaming() {
		return ErrCommitted
	}
	if !w.Header().Has("Content-Type") {
		w.Header().Set("Content-Type", "application/json")
	}
	w.SendBytes(content.Bytes())
	return nil
}
