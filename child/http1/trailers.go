package http1

// forbiddenTrailers are the fields that must not come after the content, since they are needed before it (RFC 9110,
// 6.5.1: framing, routing, request modifiers, authentication, content format), and those that are about the connection
// (7.6.1). Fields that mean nothing in a request, such as Expires, do no harm. All in lower case, by length.
var forbiddenTrailers = func() (byLength [32][]string) {
	for _, name := range []string{
		"transfer-encoding", "content-length", "trailer", "te", // framing
		"content-encoding", "content-range", "content-type", // content format
		"host", "max-forwards", "forwarded", "via", // routing
		"cache-control", "expect", "pragma", "range", "prefer", // request modifiers
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
		"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", // authentication
		"cookie", "set-cookie",
		"connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", // connection
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", // routing, by custom
		"origin", "referer",
	} {
		byLength[len(name)] = append(byLength[len(name)], name)
	}
	return byLength
}()

// forbiddenTrailer reports whether a field may not stand in a trailer section.
func forbiddenTrailer(name []byte) bool {
	if len(name) >= len(forbiddenTrailers) {
		return false
	}
	for _, forbidden := range forbiddenTrailers[len(name)] {
		if equalFold(name, forbidden) {
			return true
		}
	}
	return false
}
