package static

import "github.com/tined/tined/child/web"

// unknownType is the type of a file that the table does not know.
const unknownType = "application/octet-stream"

// contentType returns the Content-Type of the file called name. Content is never sniffed: what a file is called says what it is.
func contentType(name string) string {
	if t := web.TypeByName(name); t != "" {
		return t
	}
	return unknownType
}
