package middleware

import (
	"strings"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
)

// encodeHeader makes a header that of the same response in c: it names the coding and leaves out what holds for the content
// without it.
func encodeHeader(h *web.Header, c coding.Coding) {
	h.Set("Content-Encoding", c.String())
	h.Del("Content-Length")
	c.Describe(h)
}

// translateTags lets a handler find its own entity tags in the request's conditions: beside each tag that Coding.Tag could have made it
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
			if n.coding == coding.Identity {
				continue
			}
			used = []coding.Coding{n.coding}
			n.tags = tags
		}
		if bare := bareTags(tags, used); bare != "" {
			changed.Set(name, tags+bare)
		}
	}
	r.Header = changed
}

// bareTags returns, each behind a comma, the tags from which those of tags were made by one of the codings.
func bareTags(tags string, used []coding.Coding) string {
	var bare strings.Builder
	for tag := range eachTag(tags) {
		for _, c := range used {
			if untagged, ok := c.Untag(tag); ok {
				bare.WriteString(", " + untagged)
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
	if n.hasTag(n.coding.Tag(h.Get("ETag"))) {
		n.coding.Describe(h)
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
