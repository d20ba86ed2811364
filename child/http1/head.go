package http1

// Form is the form of a request target (RFC 9112, 3.2).
type Form uint8

const (
	OriginForm    Form = iota // /path?query
	AbsoluteForm              // http://host/path?query
	AuthorityForm             // host:port, CONNECT only
	AsteriskForm              // *, OPTIONS only
)

// String names the form as the RFC does.
func (f Form) String() string {
	return [...]string{"origin-form", "absolute-form", "authority-form", "asterisk-form"}[f]
}

// Expectation is what an Expect field asks for (RFC 9110, 10.1.1).
type Expectation uint8

const (
	ExpectNone     Expectation = iota
	ExpectContinue             // 100-continue
	ExpectUnknown              // anything else, to be answered with 417
)

// MethodID tells the methods of RFC 9110 and RFC 5789 apart without comparing strings.
type MethodID uint8

const (
	MethodOther MethodID = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodConnect
	MethodOptions
	MethodTrace
	MethodPatch
)

var methodNames = [...]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// String gives the method's name, "" for MethodOther.
func (m MethodID) String() string { return methodNames[m] }

// Safe reports whether the method is known to be safe (RFC 9110, 9.2.1).
func (m MethodID) Safe() bool {
	return m == MethodGet || m == MethodHead || m == MethodOptions || m == MethodTrace
}

// LookupMethod gives the id of a method; methods are case-sensitive (RFC 9110, 9.1).
func LookupMethod(method string) MethodID {
	switch method {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "CONNECT":
		return MethodConnect
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "PATCH":
		return MethodPatch
	}
	return MethodOther
}

// Head is a parsed request head. All spans are relative to the first byte of the message.
type Head struct {
	Method Span
	Target Span // the request target, whole
	// Path is the path of the target, still percent-encoded: never empty in origin-form and absolute-form (an empty
	// one is "/", RFC 9110, 4.2.3), "*" in asterisk-form, empty in authority-form.
	Path  Span
	Query Span // what follows the first '?'
	// Host is the effective host with its port, if any: the authority of the target in absolute-form and
	// authority-form (RFC 9112, 3.2.2), else the Host field. Empty only in HTTP/1.0. Its case is as sent.
	Host Span
	// Fields are all field lines in order. The slice is reused by the parser.
	Fields []FieldSpan
	// ContentLength is the value of Content-Length in bytes, -1 without one. A request that has neither this nor
	// Chunked has no body (RFC 9112, 6.3).
	ContentLength int64

	Form      Form
	MethodID  MethodID
	Minor     uint8 // the minor version that we speak with this peer: 0, or 1 for every HTTP/1.x above
	HasQuery  bool  // the target has a '?'; Query may be empty
	HasEscape bool  // the path has a '%'
	Chunked   bool  // the body has the chunked coding
	KeepAlive bool  // the connection may serve another request, by version and Connection (RFC 9112, 9.3)
	Upgrade   bool  // HTTP/1.1 with an Upgrade field that Connection names (RFC 9110, 7.8)
	Expect    Expectation
}

// HasBody reports whether body bytes follow the head.
func (h *Head) HasBody() bool { return h.Chunked || h.ContentLength > 0 }

// Field gives the value of the first field with this name, ignoring case; ok tells an empty value from no field.
// buf begins at the first byte of the message.
func (h *Head) Field(buf []byte, name string) (value []byte, ok bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if int(f.Name.Len) == len(name) && equalFold(f.Name.In(buf), name) {
			return f.Value.In(buf), true
		}
	}
	return nil, false
}
