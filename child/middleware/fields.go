package middleware

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// addVary says that the response depends on Accept-Encoding (RFC 9110, 12.5.5).
func addVary(h *web.Header) {
	switch {
	case h.HasToken("Vary", "Accept-Encoding"), h.HasToken("Vary", "*"):
	case h.Has("Vary"):
		h.Set("Vary", strings.Join(append(h.Values("Vary"), "Accept-Encoding"), ", "))
	default:
		h.Add("Vary", "Accept-Encoding")
	}
}

// encodeHeader makes a header that of the same response in coding c: it names the coding and leaves out what holds for the content
// without it.
func encodeHeader(h *web.Header, c coding) {
	h.Set("Content-Encoding", c.String())
	h.Del("Content-Length")
	describeCoded(h, c)
}

// describeCoded is the part of encodeHeader that holds for a 304 too: a cache updates what it has stored by it (RFC 9111, 3.2).
func describeCoded(h *web.Header, c coding) {
	if tag := h.Get("ETag"); tag != "" {
		h.Set("ETag", codedTag(tag, c))
	}
	h.Del("Accept-Ranges")
	dropDigests(h)
}

// dropDigests removes the digests of content without a coding (RFC 9530; RFC 3230 and RFC 1864 before it).
func dropDigests(h *web.Header) {
	for _, name := range [...]string{"Repr-Digest", "Content-Digest", "Digest", "Content-MD5"} {
		h.Del(name)
	}
}

// codedTag returns the entity tag of content in coding c: a strong one differs from that of the content without a coding (RFC 9110,
// 8.8.3.3). A weak one says that both mean the same.
func codedTag(tag string, c coding) string {
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return tag
	}
	return tag[:len(tag)-1] + "-" + c.String() + `"`
}

// translateTags lets a handler find its own entity tags in the request's conditions: beside each tag that codedTag could have made it
// puts the one that it was made from. For a GET that is a tag of the coding that is used now: a response in another coding is not the one
// that the client would get. r.Header is replaced, not changed.
func (n *negotiation) translateTags(r *web.Request) {
	if !r.Header.Has("If-None-Match") && !r.Header.Has("If-Match") {
		return
	}
	received := &r.Header
	changed := received.Clone()
	for _, name := range [...]string{"If-None-Match", "If-Match"} {
		if !received.Has(name) {
			continue
		}
		tags := strings.Join(received.Values(name), ", ")
		used := n.c.offered
		if name == "If-None-Match" && n.safe {
			if n.coding == identity {
				continue
			}
			used = []coding{n.coding}
			n.tags = tags
		}
		if bare := bareTags(tags, used); bare != "" {
			changed.Set(name, tags+bare)
		}
	}
	r.Header = changed
}

// bareTags returns, each behind a comma, the tags from which those of tags were made by one of the codings.
func bareTags(tags string, used []coding) string {
	var bare strings.Builder
	for tag := range eachTag(tags) {
		for _, c := range used {
			if opaque, ok := strings.CutSuffix(tag, "-"+c.String()+`"`); ok && len(opaque) > 1 {
				bare.WriteString(", " + opaque + `"`)
			}
		}
	}
	return bare.String()
}

// eachTag yields the entity tags of a list, without their W/ (RFC 9110, 8.8.3). It ends at what is none.
func eachTag(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			list = strings.TrimLeft(list, " \t,")
			list = strings.TrimPrefix(list, "W/")
			if list == "" || list[0] != '"' {
				return
			}
			end := strings.IndexByte(list[1:], '"')
			if end < 0 || !yield(list[:end+2]) {
				return
			}
			list = list[end+2:]
		}
	}
}

// notModified makes a 304 that of the response that the client has, if that is the coded one.
func (n *negotiation) notModified(status int, h *web.Header) {
	if status != 304 || n.tags == "" {
		return
	}
	if n.hasTag(codedTag(h.Get("ETag"), n.coding)) {
		describeCoded(h, n.coding)
	}
}

// hasTag reports whether the client has a response with that tag.
func (n *negotiation) hasTag(tag string) bool {
	if n.tags == "" || tag == "" {
		return false
	}
	for own := range eachTag(n.tags) {
		if own == tag {
			return true
		}
	}
	return false
}
