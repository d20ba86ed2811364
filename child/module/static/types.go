package static

import (
	"strings"

	"github.com/tined/tined/child/web"
)

// unknownType is the type of a file that the table does not know.
const unknownType = "application/octet-stream"

// contentTypes are the configured ones: by the last extension in lower case, with its dot, and by whole names.
type contentTypes struct{ byExtension, byName map[string]string }

func newContentTypes(configured map[string]string) contentTypes {
	t := contentTypes{map[string]string{}, map[string]string{}}
	for name, value := range configured {
		if strings.HasPrefix(name, ".") {
			t.byExtension[strings.ToLower(name)] = value
		} else {
			t.byName[name] = value
		}
	}
	return t
}

// of returns the Content-Type of the file called name. Content is never sniffed: what a file is called says what it is.
func (t contentTypes) of(name string) string {
	base := name[strings.LastIndexByte(name, '/')+1:]
	if value, ok := t.byName[base]; ok {
		return value
	}
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 && len(t.byExtension) > 0 {
		if value, ok := t.byExtension[strings.ToLower(base[dot:])]; ok {
			return value
		}
	}
	if value := web.TypeByName(name); value != "" {
		return value
	}
	return unknownType
}
