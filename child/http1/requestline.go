package http1

import "bytes"

// parseRequestLine parses what follows the method; line ends before the CRLF (RFC 9112, 3).
func (p *Parser) parseRequestLine(line []byte) *Error {
	h := &p.Head
	start := int(h.Method.Off+h.Method.Len) + 1
	end, query, escape := start, -1, -1 // where the target ends, and the first '?' and '%' in it
	allowed := pathChar
	for ; end < len(line); end++ {
		c := line[end]
		if classes[c]&allowed != 0 {
			continue
		}
		if c == '?' { // the first: another one is part of the query
			query, allowed = end, queryChar
			continue
		}
		if c != '%' {
			break
		}
		if !escaped(line, end) {
			return errTarget
		}
		if escape < 0 {
			escape = end
		}
	}
	// Whatever is not a target byte ends the target, and must be the one SP before the version. Without a version it
	// is a simple request of HTTP/0.9.
	if end == start || end < len(line) && line[end] != ' ' {
		return errTarget
	}
	if end == len(line) {
		return errVersion
	}
	if err := p.parseVersion(line[end+1:]); err != nil {
		return err
	}
	h.Target = span(start, end)
	pathEnd := end
	if query >= 0 {
		h.HasQuery = true
		h.Query = span(query+1, end)
		pathEnd = query
	}
	h.Path = span(start, pathEnd)
	h.HasEscape = escape >= 0 && escape < pathEnd
	if line[start] == '/' && h.MethodID != MethodConnect {
		return nil // origin-form (RFC 9112, 3.2.1)
	}
	return p.parseOtherForm(line, start, pathEnd, end)
}

// parseVersion parses the HTTP-version (RFC 9112, 2.3: case-sensitive, one digit each).
func (p *Parser) parseVersion(b []byte) *Error {
	if len(b) != 8 || string(b[:5]) != "HTTP/" || b[6] != '.' ||
		b[5] < '0' || b[5] > '9' || b[7] < '0' || b[7] > '9' {
		return errVersion
	}
	if b[5] != '1' {
		return errVersionMajor
	}
	// RFC 9110, 2.5: a higher minor version is processed as the highest one that we know of this major.
	if b[7] != '0' {
		p.Head.Minor = 1
	}
	return nil
}

// parseOtherForm parses a target that is not in origin-form.
func (p *Parser) parseOtherForm(line []byte, start, pathEnd, end int) *Error {
	h := &p.Head
	target := line[start:end]
	switch {
	case h.MethodID == MethodConnect: // RFC 9112, 3.2.3: authority-form, and only there
		if h.HasQuery || !validAuthority(target, true) {
			return errTargetForm
		}
		h.Form, h.Host, h.Path, h.HasEscape = AuthorityForm, h.Target, Span{}, false
		return nil
	case target[0] == '*': // RFC 9112, 3.2.4
		if len(target) != 1 || h.MethodID != MethodOptions {
			return errTargetForm
		}
		h.Form = AsteriskForm
		return nil
	}
	// RFC 9112, 3.2.2. The scheme is case-insensitive (RFC 3986, 3.1).
	i := bytes.IndexByte(target, ':')
	if i < 0 {
		return errTarget
	}
	if !(i == 4 && equalFold(target[:i], "http") || i == 5 && equalFold(target[:i], "https")) {
		return errScheme
	}
	if len(target) < i+3 || target[i+1] != '/' || target[i+2] != '/' {
		return errTarget
	}
	authority := start + i + 3
	path := authority
	for path < pathEnd && line[path] != '/' {
		path++
	}
	if !validAuthority(line[authority:path], false) {
		return errAuthority
	}
	h.Form, h.Host = AbsoluteForm, span(authority, path)
	if path == pathEnd {
		// An empty path is "/" (RFC 9110, 4.2.3): there is one before the authority.
		h.Path, h.HasEscape = span(authority-1, authority), false
		if h.MethodID == MethodOptions && i == len("http") && !h.HasQuery {
			h.Form = AsteriskForm // what the last proxy makes of it (RFC 9112, 3.2.4)
		}
		return nil
	}
	h.Path = span(path, pathEnd)
	h.HasEscape = bytes.IndexByte(line[path:pathEnd], '%') >= 0
	return nil
}
