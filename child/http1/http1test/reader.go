// Package http1test reads responses as strictly as RFC 9112 is written, for tests of a whole server. It shares no code
// with package http1, so that a mistake there is not repeated here. It imports the standard library only.
package http1test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Bounds of what the reader accepts; beyond them it fails.
const (
	maxLine  = 64 << 10 // bytes
	maxLines = 1000     // field lines of one section
)

// DefaultMaxBody is the default of Reader.MaxBody.
const DefaultMaxBody = 256 << 20

// Field is a header or trailer field; Name is as it was sent, Value without the whitespace around it.
type Field struct{ Name, Value string }

// Fields are the fields of one section in order.
type Fields []Field

// Get gives the value of the first field with this name, ignoring case, "" without one.
func (f Fields) Get(name string) string {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return field.Value
		}
	}
	return ""
}

// All gives the values of all fields with this name, ignoring case.
func (f Fields) All(name string) (values []string) {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			values = append(values, field.Value)
		}
	}
	return values
}

// Has reports whether there is a field with this name, ignoring case.
func (f Fields) Has(name string) bool { return len(f.All(name)) > 0 }

// Interim is a 1xx response that came before the final one.
type Interim struct {
	Status int
	Fields Fields
}

// Framing is how the end of a response was found (RFC 9112, 6.3).
type Framing string

const (
	NoBody        Framing = "none" // by status or request method
	ContentLength Framing = "content-length"
	Chunked       Framing = "chunked"
	UntilClose    Framing = "close"
)

// Response is one final response.
type Response struct {
	Minor    int // of the version
	Status   int
	Reason   string
	Fields   Fields
	Body     []byte
	Trailers Fields
	Interim  []Interim // the 1xx responses before it
	Framing  Framing
	Chunks   []int // sizes of the chunks in bytes
	Close    bool  // the server closes the connection after it: by Connection, by version or by framing
	Tunnel   bool  // 101, or 2xx to CONNECT: what follows is another protocol
}

// Get gives the value of the first field with this name, "" without one.
func (r *Response) Get(name string) string { return r.Fields.Get(name) }

// Reader reads one response after the other. Not safe for concurrent use.
type Reader struct {
	MaxBody int64 // bytes; 0: DefaultMaxBody

	in *bufio.Reader
}

// NewReader gives a Reader. It reads ahead: see Buffered.
func NewReader(in io.Reader) *Reader { return &Reader{in: bufio.NewReader(in)} }

// Buffered gives the number of bytes that were received and not used. After the last expected response it must be 0.
func (r *Reader) Buffered() int { return r.in.Buffered() }

// Rest gives what follows the responses: for tunnels, and to look for bytes that should not be there.
func (r *Reader) Rest() io.Reader { return r.in }

// Read reads the response to a request with this method. The error is io.EOF when the stream ended cleanly before its
// first byte, io.ErrUnexpectedEOF (wrapped) when it ended later, and a description of what is malformed else.
func (r *Reader) Read(method string) (*Response, error) {
	res := &Response{}
	for {
		if err := r.readHead(res); err != nil {
			if err == io.EOF && len(res.Interim) > 0 {
				err = fmt.Errorf("no final response: %w", io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		if res.Status >= 200 || res.Status == 101 {
			break
		}
		if res.Fields.Has("Content-Length") || res.Fields.Has("Transfer-Encoding") {
			return nil, fmt.Errorf("%d with a framing field", res.Status)
		}
		res.Interim = append(res.Interim, Interim{res.Status, res.Fields})
		if len(res.Interim) > maxLines {
			return nil, errors.New("too many interim responses")
		}
		*res = Response{Interim: res.Interim}
	}
	if err := r.readBody(res, method); err != nil {
		return nil, fmt.Errorf("%s, status %d: %w", method, res.Status, err)
	}
	return res, nil
}

func (r *Reader) readHead(res *Response) error {
	if _, err := r.in.Peek(1); err != nil {
		return err
	}
	line, err := r.readLine()
	if err != nil {
		return fmt.Errorf("status line: %w", err)
	}
	// RFC 9112, 4: HTTP-version SP status-code SP [ reason-phrase ]
	if len(line) < 13 || line[:7] != "HTTP/1." || (line[7] != '0' && line[7] != '1') || line[8] != ' ' || line[12] != ' ' {
		return fmt.Errorf("malformed status line %q", line)
	}
	res.Minor = int(line[7] - '0')
	if res.Status, err = decimal(line[9:12]); err != nil || res.Status < 100 || res.Status > 599 {
		return fmt.Errorf("malformed status code in %q", line)
	}
	if res.Reason = line[13:]; !validText(res.Reason) {
		return fmt.Errorf("malformed reason phrase in %q", line)
	}
	res.Fields, err = r.readFields()
	return err
}

// readLine reads a line and its CRLF, and refuses every CR or LF that is not part of one.
func (r *Reader) readLine() (string, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if err == io.EOF {
			return "", io.ErrUnexpectedEOF
		}
		if err != bufio.ErrBufferFull {
			return "", err
		}
		if len(line) > maxLine {
			return "", errors.New("line too long")
		}
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("line ends in a bare LF: %q", line)
	}
	line = line[:len(line)-2]
	for _, c := range line {
		if c == '\r' {
			return "", fmt.Errorf("bare CR in a line: %q", line)
		}
	}
	return string(line), nil
}

// readFields reads field lines up to the empty line (RFC 9112, 5).
func (r *Reader) readFields() (fields Fields, err error) {
	for {
		line, err := r.readLine()
		if err != nil {
			return nil, fmt.Errorf("field line: %w", err)
		}
		if line == "" {
			return fields, nil
		}
		if len(fields) == maxLines {
			return nil, errors.New("too many fields")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !validToken(name) {
			return nil, fmt.Errorf("malformed field name in %q", line)
		}
		value = strings.Trim(value, " \t")
		if !validText(value) {
			return nil, fmt.Errorf("malformed value in %q", line)
		}
		fields = append(fields, Field{name, value})
	}
}

// readBody finds the framing (RFC 9112, 6.3) and reads the body.
func (r *Reader) readBody(res *Response, method string) error {
	length, err := contentLength(res.Fields)
	if err != nil {
		return err
	}
	codings := res.Fields.All("Transfer-Encoding")
	switch {
	case len(codings) > 0 && length >= 0:
		return errors.New("both Content-Length and Transfer-Encoding")
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return fmt.Errorf("transfer coding %q", codings)
	case len(codings) > 0 && res.Minor == 0:
		return errors.New("Transfer-Encoding in HTTP/1.0")
	}
	if err := connection(res); err != nil {
		return err
	}
	res.Tunnel = res.Status == 101 || method == "CONNECT" && res.Status/100 == 2
	if res.Status == 204 || res.Tunnel {
		if len(codings) > 0 || length >= 0 {
			return errors.New("framing field where none is allowed") // RFC 9110, 8.6; RFC 9112, 6.1
		}
	}
	switch {
	case method == "HEAD" || res.Status == 204 || res.Status == 304 || res.Tunnel:
		res.Framing = NoBody
		return nil
	case len(codings) > 0:
		res.Framing = Chunked
		return r.readChunked(res)
	case length >= 0:
		res.Framing = ContentLength
		if length > r.maxBody() {
			return errors.New("body too large")
		}
		return r.readBytes(res, length)
	}
	res.Framing, res.Close = UntilClose, true
	res.Body, err = io.ReadAll(io.LimitReader(r.in, r.maxBody()+1))
	if err == nil && int64(len(res.Body)) > r.maxBody() {
		err = errors.New("body too large")
	}
	return err
}

func (r *Reader) maxBody() int64 {
	if r.MaxBody > 0 {
		return r.MaxBody
	}
	return DefaultMaxBody
}

// readBytes adds n bytes to the body, without trusting n before they are there.
func (r *Reader) readBytes(res *Response, n int64) error {
	part, err := io.ReadAll(io.LimitReader(r.in, n))
	res.Body = append(res.Body, part...)
	if err == nil && int64(len(part)) < n {
		err = fmt.Errorf("%d of %d bytes: %w", len(part), n, io.ErrUnexpectedEOF)
	}
	return err
}

// readChunked reads RFC 9112, 7.1 without extensions: a server that we test has no reason to send any.
func (r *Reader) readChunked(res *Response) (err error) {
	for {
		line, err := r.readLine()
		if err != nil {
			return fmt.Errorf("chunk size: %w", err)
		}
		size, err := hexadecimal(line)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if size > r.maxBody()-int64(len(res.Body)) {
			return errors.New("body too large")
		}
		if err := r.readBytes(res, size); err != nil {
			return fmt.Errorf("chunk data: %w", err)
		}
		res.Chunks = append(res.Chunks, int(size))
		end, err := r.readLine()
		if err == nil && end != "" {
			err = fmt.Errorf("%q instead of CRLF", end)
		}
		if err != nil {
			return fmt.Errorf("after a chunk of %d bytes: %w", size, err)
		}
	}
	if res.Trailers, err = r.readFields(); err != nil {
		return fmt.Errorf("trailer section: %w", err)
	}
	for _, f := range res.Trailers {
		switch strings.ToLower(f.Name) {
		case "content-length", "transfer-encoding", "host", "connection", "trailer", "content-type", "content-encoding",
			"content-range", "set-cookie", "date", "location", "www-authenticate":
			return fmt.Errorf("trailer field %q", f.Name)
		}
	}
	return nil
}

// contentLength gives the length, -1 without the field.
func contentLength(fields Fields) (int64, error) {
	values := fields.All("Content-Length")
	if len(values) == 0 {
		return -1, nil
	}
	if len(values) > 1 {
		return 0, errors.New("repeated Content-Length")
	}
	n, err := decimal(values[0])
	if err != nil {
		return 0, fmt.Errorf("Content-Length: %w", err)
	}
	return int64(n), nil
}

// connection notes whether the connection ends (RFC 9112, 9.3).
func connection(res *Response) error {
	res.Close = res.Minor == 0
	for _, value := range res.Fields.All("Connection") {
		for option := range strings.SplitSeq(value, ",") {
			option = strings.Trim(option, " \t")
			switch {
			case !validToken(option):
				return fmt.Errorf("malformed Connection %q", value)
			case strings.EqualFold(option, "keep-alive"):
				res.Close = false
			}
		}
	}
	for _, value := range res.Fields.All("Connection") {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "close") {
				res.Close = true
			}
		}
	}
	return nil
}

func decimal(s string) (int, error) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a number", s)
		}
	}
	return strconv.Atoi(s)
}

func hexadecimal(s string) (int64, error) {
	for _, c := range []byte(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return 0, fmt.Errorf("malformed chunk size %q", s)
		}
	}
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("malformed chunk size %q", s)
	}
	return int64(n), nil
}

// validText: HTAB, SP, visible characters and obs-text.
func validText(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func validToken(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))) {
			return false
		}
	}
	return s != ""
}
