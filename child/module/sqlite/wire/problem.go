package wire

import (
	"strconv"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Problem appends e as a document of the type ContentTypeProblem (RFC 9457): type, title, status, detail, then the members of its own:
//
//	code         e.Code
//	queue        how many wait, for CodeBusy
//	offset       the byte of the statement, from 0, for CodeSQL where it is known
//	retry_after  RetryAfter(e), if that is not 0
func Problem(dst []byte, e *engine.Error) []byte {
	status := e.Code.Status()
	// The type says that the problem is no other than the status, and so its title is the status's phrase: RFC 9457, 4.2.1.
	dst = AppendText(append(dst, `{"type":"about:blank","title":`...), phrase(status))
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(status), 10)
	dst = AppendText(append(dst, `,"detail":`...), e.Message)
	dst = AppendText(append(dst, `,"code":`...), string(e.Code))
	if e.Code == engine.CodeBusy {
		dst = strconv.AppendInt(append(dst, `,"queue":`...), int64(e.Queue), 10)
	}
	if e.Code == engine.CodeSQL && e.Offset >= 0 {
		dst = strconv.AppendInt(append(dst, `,"offset":`...), int64(e.Offset), 10)
	}
	if seconds := RetryAfter(e); seconds > 0 {
		dst = strconv.AppendInt(append(dst, `,"retry_after":`...), seconds, 10)
	}
	return append(dst, '}')
}

// RetryAfter returns e.RetryAfter in whole seconds, rounded up, as the field Retry-After has it (RFC 9110, 10.2.3); 0: nothing is known.
func RetryAfter(e *engine.Error) int64 {
	if e.RetryAfter <= 0 {
		return 0
	}
	return int64((e.RetryAfter-1)/time.Second) + 1
}

// phrase returns the reason phrase of a status that engine.Code.Status returns (RFC 9110, 15).
func phrase(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 406:
		return "Not Acceptable"
	case 409:
		return "Conflict"
	case 412:
		return "Precondition Failed"
	case 413:
		return "Content Too Large"
	case 415:
		return "Unsupported Media Type"
	case 429:
		return "Too Many Requests"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 507:
		return "Insufficient Storage"
	}
	return "Internal Server Error"
}
