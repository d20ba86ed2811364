package coding

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// Vary says in h that the response depends on Accept-Encoding (RFC 9110, 12.5.5).
func Vary(h *web.Header) {
	switch {
	case h.HasToken("Vary", "Accept-Encoding"), h.HasToken("Vary", "*"):
	case h.Has("Vary"):
		h.Set("Vary", strings.Join(append(h.Values("Vary"), "Accept-Encoding"), ", "))
	default:
		h.Add("Vary", "Accept-Encoding")
	}
}

// Tag returns the entity tag of content in c, made from that of the content without a coding: a strong one gets the coding's name as a
// suffix, since both must differ (RFC 9110, 8.8.3.3): "v1" becomes "v1-zstd". A weak one stays: it says that both mean the same.
func (c Coding) Tag(tag string) string {
	if c == Identity || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return tag
	}
	return tag[:len(tag)-1] + "-" + c.String() + `"`
}

// Untag returns the entity tag, without its W/, that Tag has made tag from. false: it has not made it.
func (c Coding) Untag(tag string) (string, bool) {
	opaque, ok := strings.CutSuffix(tag, "-"+c.String()+`"`)
	return opaque + `"`, ok && c != Identity && len(opaque) > 1
}

// Describe makes of h, the header of a response without a coding, what is true of that response in c, the header of a 304 too: a cache
// updates what it has stored by it (RFC 9111, 3.2). It changes the entity tag and removes digests and Accept-Ranges, and leaves
// Content-Encoding and Content-Length alone.
func (c Coding) Describe(h *web.Header) {
	if tag := h.Get("ETag"); tag != "" {
		h.Set("ETag", c.Tag(tag))
	}
	h.Del("Accept-Ranges")
	DropDigests(h)
}

// DropDigests removes the digests of content without a coding (RFC 9530; RFC 3230 and RFC 1864 before it).
func DropDigests(h *web.Header) {
	for _, name := range [...]string{"Repr-Digest", "Content-Digest", "Digest", "Content-MD5"} {
		h.Del(name)
	}
}
