package http1

import "strconv"

// Error is a message that was refused. All errors of this package's state machines are predeclared values of it.
type Error struct {
	Status  int    // the status to answer with
	Message string // what is wrong, without any byte of the message
}

// Error gives the message with its status.
func (e *Error) Error() string {
	return "http1: " + e.Message + " (" + strconv.Itoa(e.Status) + ")"
}

var (
	errLineEnd          = &Error{400, "bare CR or LF"}
	errEmptyLines       = &Error{400, "more than one empty line before the request"}
	errMethod           = &Error{400, "malformed method"}
	errMethodTooLong    = &Error{501, "method too long"}
	errRequestLineLong  = &Error{414, "request line too long"}
	errTarget           = &Error{400, "malformed request target"}
	errTargetForm       = &Error{400, "form of the request target does not fit the method"}
	errScheme           = &Error{400, "scheme of the request target is not http or https"}
	errAuthority        = &Error{400, "malformed authority in the request target"}
	errVersion          = &Error{400, "malformed HTTP version"}
	errVersionMajor     = &Error{505, "HTTP version not supported"}
	errHeaderBytes      = &Error{431, "header section too large"}
	errHeaderCount      = &Error{431, "too many header fields"}
	errFold             = &Error{400, "field line begins with whitespace"}
	errFieldName        = &Error{400, "malformed field name"}
	errFieldValue       = &Error{400, "malformed field value"}
	errNoHost           = &Error{400, "no Host field"}
	errHostRepeated     = &Error{400, "repeated Host field"}
	errHost             = &Error{400, "malformed Host field"}
	errLength           = &Error{400, "malformed Content-Length"}
	errLengthRepeated   = &Error{400, "repeated Content-Length"}
	errLengthAndCoding  = &Error{400, "both Content-Length and Transfer-Encoding"}
	errCoding           = &Error{400, "malformed Transfer-Encoding"}
	errCodingOld        = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errChunkedNotLast   = &Error{400, "chunked is not the only last transfer coding"}
	errCodingUnknown    = &Error{501, "transfer coding not implemented"}
	errChunkSize        = &Error{400, "malformed chunk size"}
	errChunkSizeLarge   = &Error{400, "chunk size too large"}
	errChunkLineLong    = &Error{400, "chunk line too long"}
	errChunkExtension   = &Error{400, "malformed chunk extension"}
	errChunkExtensions  = &Error{400, "too many bytes of chunk extensions"}
	errChunkEnd         = &Error{400, "chunk data not followed by CRLF"}
	errTrailerBytes     = &Error{431, "trailer section too large"}
	errTrailerCount     = &Error{431, "too many trailer fields"}
	errTrailerForbidden = &Error{400, "field not allowed in a trailer section"}
)
