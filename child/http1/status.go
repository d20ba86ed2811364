package http1

import "strconv"

// reasons are the phrases of the registered status codes (RFC 9110, 15 and the RFCs that are named).
var reasons = [...]struct {
	status int
	phrase string
}{
	{100, "Continue"},
	{101, "Switching Protocols"},
	{102, "Processing"},  // RFC 2518
	{103, "Early Hints"}, // RFC 8297
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{203, "Non-Authoritative Information"},
	{204, "No Content"},
	{205, "Reset Content"},
	{206, "Partial Content"},
	{207, "Multi-Status"},     // RFC 4918
	{208, "Already Reported"}, // RFC 5842
	{226, "IM Used"},          // RFC 3229
	{300, "Multiple Choices"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{305, "Use Proxy"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{402, "Payment Required"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{407, "Proxy Authentication Required"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{418, "I'm a teapot"}, // RFC 2324; "(Unused)" in RFC 9110
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{423, "Locked"},                // RFC 4918
	{424, "Failed Dependency"},     // RFC 4918
	{425, "Too Early"},             // RFC 8470
	{426, "Upgrade Required"},      //
	{428, "Precondition Required"}, // RFC 6585
	{429, "Too Many Requests"},     // RFC 6585
	{431, "Request Header Fields Too Large"},
	{451, "Unavailable For Legal Reasons"}, // RFC 7725
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{506, "Variant Also Negotiates"},         // RFC 2295
	{507, "Insufficient Storage"},            // RFC 4918
	{508, "Loop Detected"},                   // RFC 5842
	{510, "Not Extended"},                    // RFC 2774
	{511, "Network Authentication Required"}, // RFC 6585
}

const (
	firstStatus = 100
	lastStatus  = 599
)

// statusLines are the whole lines with their CRLF; the reason phrase of an unknown code is empty, and the SP before
// it still has to be there (RFC 9112, 4).
var statusLines = func() (lines [lastStatus - firstStatus + 1]string) {
	for i := range lines {
		lines[i] = "HTTP/1.1 " + strconv.Itoa(firstStatus+i) + " \r\n"
	}
	for _, r := range reasons {
		lines[r.status-firstStatus] = "HTTP/1.1 " + strconv.Itoa(r.status) + " " + r.phrase + "\r\n"
	}
	return lines
}()

// statusLine gives the whole line. A status outside 100 to 599 is not one (RFC 9110, 15): it is sent as 500.
func statusLine(status int) string {
	if status < firstStatus || status > lastStatus {
		status = 500
	}
	return statusLines[status-firstStatus]
}

// AppendStatusLine appends `HTTP/1.1 STATUS REASON` and CRLF. The version is 1.1 whatever the request's was (RFC
// 9110, 2.5). A status outside 100 to 599 is sent as 500.
func AppendStatusLine(dst []byte, status int) []byte { return append(dst, statusLine(status)...) }

// ReasonPhrase gives the reason phrase of a status code, "" for an unknown one.
func ReasonPhrase(status int) string {
	if status < firstStatus || status > lastStatus {
		return ""
	}
	line := statusLines[status-firstStatus]
	return line[len("HTTP/1.1 200 ") : len(line)-2]
}

// BodyAllowed reports whether a response with this status may have content: not 1xx, 204, 304 (RFC 9112, 6.3, item
// 1). Nor may it then have Transfer-Encoding, nor, but for 304, Content-Length (RFC 9110, 8.6). A response to HEAD has
// no content either, whatever its status.
func BodyAllowed(status int) bool {
	return status >= 200 && status != 204 && status != 304
}
