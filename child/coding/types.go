package coding

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// compressible are the media types that are worth compressing, beside text/* and what ends in +json, +xml or +text. Images, audio, video,
// archives and WOFF fonts are compressed by their own format.
var compressible = map[string]bool{
	"application/ecmascript":            true,
	"application/graphql":               true,
	"application/javascript":            true,
	"application/json":                  true,
	"application/json5":                 true,
	"application/jsonl":                 true,
	"application/json-seq":              true,
	"application/rtf":                   true,
	"application/sql":                   true,
	"application/toml":                  true,
	"application/vnd.ms-fontobject":     true,
	"application/wasm":                  true,
	"application/x-javascript":          true,
	"application/x-ndjson":              true,
	"application/x-ns-proxy-autoconfig": true,
	"application/x-sh":                  true,
	"application/x-yaml":                true,
	"application/xml":                   true,
	"application/xml-dtd":               true,
	"application/yaml":                  true,
	"font/collection":                   true,
	"font/otf":                          true,
	"font/ttf":                          true,
	"image/bmp":                         true,
	"image/svg+xml":                     true,
	"image/vnd.microsoft.icon":          true,
	"image/x-icon":                      true,
	"model/gltf+json":                   true,
}

// MediaType returns the type of a Content-Type in lower case, without parameters. It allocates nothing if that is lower case already.
func MediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(trim(t))
}

// Worth reports whether content of a media type, in lower case, is compressed: one of the built-in types (text, JSON, XML, SVG, JavaScript,
// WebAssembly, …), or of the further ones, in lower case too, which may be "type/*". Nothing is worth it without a type.
func Worth(mediaType string, further map[string]bool) bool {
	if mediaType == "" {
		return false
	}
	if strings.HasPrefix(mediaType, "text/") || compressible[mediaType] || further[mediaType] {
		return true
	}
	if plus := strings.LastIndexByte(mediaType, '+'); plus > 0 {
		switch mediaType[plus:] {
		case "+json", "+xml", "+text":
			return true
		}
	}
	if len(further) == 0 {
		return false
	}
	kind, _, _ := strings.Cut(mediaType, "/")
	return further[kind+"/*"]
}

// ValidType reports whether t can be one of Worth's further types, as "application/x-thing" or "application/*".
func ValidType(t string) bool {
	kind, subtype, ok := strings.Cut(t, "/")
	return ok && web.ValidFieldName(kind) && web.ValidFieldName(subtype) && !strings.Contains(kind, "*") && (subtype == "*" || !strings.Contains(subtype, "*"))
}
