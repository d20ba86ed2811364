package web

import (
	"context"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A Request is one HTTP request whose head has arrived whole. It belongs to the handler that it was given to until that handler
// returns. Its strings are the request's own memory and may be kept (but see NonBlocking).
type Request struct {
	Method   string // "GET", "POST", … (RFC 9110, 9); case matters
	Target   string // the request target as received (RFC 9112, 3.2)
	Path     string // the target's path, percent-decoded
	RawPath  string // the target's path as received
	RawQuery string // what follows the first '?', without it
	Host     string // host[:port] of the target, else of the Host field (RFC 9110, 7.2)
	Minor    int    // of the protocol version HTTP/1.Minor

	Header Header
	Body   Body

	// Scheme is "http", or "https" when a trusted proxy says that the client came so (see trusted_proxies).
	Scheme string

	// RemoteAddr is the client's address: of the connection, or, behind trusted proxies, the one that they tell, with the port 0 when
	// they tell none. It is the zero AddrPort for a connection over a unix socket.
	RemoteAddr netip.AddrPort

	// What ParseForm and ParseMultipartForm have read, nil before: Form holds the fields of the content and the query's, PostForm those
	// of the content only, MultipartForm the files too.
	Form, PostForm url.Values
	MultipartForm  *multipart.Form

	params  []Param
	pattern *Pattern
	query   url.Values
	ctx     context.Context // set by SetContext, else the engine's
	engine  Engine
	byPart  bool // MultipartReader has the content
	relayed bool // a trusted proxy has sent it
	unknown bool // by whom it was sent to the proxy is not known
}

// forget empties what is made on demand.
func (r *Request) forget() {
	r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
	r.pattern, r.query, r.ctx = nil, nil, nil
	r.byPart, r.relayed, r.unknown = false, false, false
}

// PathValue returns the value of the wildcard called name in the pattern that matched, percent-decoded, or "".
func (r *Request) PathValue(name string) string {
	for i := range r.params {
		if r.params[i].Name == name {
			return r.params[i].Value
		}
	}
	return ""
}

// SetPathValue sets what PathValue returns for name: for handlers that route by themselves.
func (r *Request) SetPathValue(name, value string) {
	for i := range r.params {
		if r.params[i].Name == name {
			r.params[i].Value = value
			return
		}
	}
	r.params = append(r.params, Param{Name: name, Value: value})
}

// Pattern returns the pattern that matched, as in "GET /items/{id}", the innermost when a Mux serves below another pattern; "" when
// there is none.
func (r *Request) Pattern() string {
	if r.pattern == nil {
		return ""
	}
	return r.pattern.String()
}

// URL returns the target as a URL of the caller's own, made of Path, RawPath and RawQuery. As in net/http it has a scheme and a host
// only if the target has (absolute-form: RFC 9112, 3.2.2). For a link to this server set them to r.Scheme and r.Host.
func (r *Request) URL() *url.URL {
	u := &url.URL{Path: r.Path, RawQuery: r.RawQuery}
	if u.EscapedPath() != r.RawPath {
		u.RawPath = r.RawPath
	}
	if r.Target == "" {
		return u
	}
	u.ForceQuery = r.RawQuery == "" && r.Target[len(r.Target)-1] == '?'
	if r.Target[0] != '/' && r.Target[0] != '*' {
		u.Host = r.Host
		u.Scheme = r.Scheme
	}
	return u
}

// Query returns the parsed query; malformed pairs are left out. It is parsed once.
func (r *Request) Query() url.Values {
	if r.query == nil {
		r.query, _ = url.ParseQuery(r.RawQuery) // the error only says that pairs were left out
		if r.query == nil {
			r.query = url.Values{}
		}
	}
	return r.query
}

// QueryValue returns the first value of the query parameter name, or "".
func (r *Request) QueryValue(name string) string {
	if r.RawQuery == "" {
		return ""
	}
	return r.Query().Get(name)
}

// Proto returns "HTTP/1.1" or "HTTP/1.0".
func (r *Request) Proto() string {
	if r.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// ProtoAtLeast reports whether the request's version is major.minor or later.
func (r *Request) ProtoAtLeast(major, minor int) bool {
	return major < 1 || major == 1 && minor <= r.Minor
}

// Context is cancelled when the client has gone, when the handler's deadline has passed, and after the handler has returned. A client that
// closes its connection is found out by the next write, or, if the handler has not begun its answer, within about a second: the server
// then sends an interim response (100, RFC 9110, 15.2), which only a closed connection answers with a reset. One of HTTP/1.0 is not asked.
func (r *Request) Context() context.Context {
	if r.ctx != nil {
		return r.ctx
	}
	if r.engine == nil {
		return context.Background()
	}
	return r.engine.Context()
}

// SetContext replaces what Context returns, for the handlers that are called with r from now on. ctx should descend from r.Context().
// It is how middleware passes values on (context.WithValue), and bounds the time of a handler; in net/http that is WithContext.
func (r *Request) SetContext(ctx context.Context) {
	if ctx == nil {
		panic("web: SetContext(nil)")
	}
	r.ctx = ctx
}

// LocalAddr returns the server's address of the connection, zero for a unix socket.
func (r *Request) LocalAddr() netip.AddrPort {
	if r.engine == nil {
		return netip.AddrPort{}
	}
	local, _ := r.engine.Addrs()
	return local
}

// PeerAddr returns the address at the other end of the connection, which is a proxy's when RemoteAddr was told by one; zero for a unix
// socket.
func (r *Request) PeerAddr() netip.AddrPort {
	if r.engine == nil {
		return r.RemoteAddr
	}
	_, peer := r.engine.Addrs()
	return peer
}

// MediaType returns the type of the body in lower case without parameters, as in "application/json".
func (r *Request) MediaType() string {
	value, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(value))
}

// UserAgent returns the User-Agent field (RFC 9110, 10.1.5).
func (r *Request) UserAgent() string { return r.Header.Get("User-Agent") }

// Referer returns the Referer field (RFC 9110, 10.1.3).
func (r *Request) Referer() string { return r.Header.Get("Referer") }

// BasicAuth returns the name and password of the Authorization field, if its scheme is Basic (RFC 7617). Compare them in constant time
// (crypto/subtle).
func (r *Request) BasicAuth() (username, password string, ok bool) {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return "", "", false
	}
	q := http.Request{Header: http.Header{"Authorization": {authorization}}}
	return q.BasicAuth()
}
