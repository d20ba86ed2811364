package static

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// listingPage is the HTML, with the names of what is filled in between braces.
//
//go:embed listing.html
var listingPage string

// A piece of the page: text as it is, and what comes behind it.
type piece struct {
	text   string
	filled string // "" behind the last
}

// parsePage cuts a page at its braces, and makes the policy that allows its style and nothing else.
func parsePage(page string) (pieces []piece, policy string) {
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy = "default-src 'none'; img-src 'self'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" // img-src: /favicon.ico
	for {
		text, rest, more := strings.Cut(page, "{{")
		p := piece{text: text}
		if more {
			p.filled, page, _ = strings.Cut(rest, "}}")
		}
		pieces = append(pieces, p)
		if !more {
			return pieces, policy
		}
	}
}

// appendHTML writes a directory down for people.
func (l *listing) appendHTML(b []byte, c *contents) []byte {
	for _, p := range l.pieces {
		b = append(b, p.text...)
		switch p.filled {
		case "":
		case "path":
			b = appendText(b, c.path)
		case "crumbs":
			b = c.appendCrumbs(b)
		case "heading":
			b = appendText(b, c.heading())
		case "summary":
			b = c.appendSummary(b)
		case "notice":
			b = c.appendNotice(b)
		case "heads":
			b = c.appendHeads(b)
		case "rows":
			b = c.appendRows(b)
		case "links":
			b = append(b, `<a href="./?format=json&amp;sort=`+sortNames[c.order.by]+`&amp;order=`+c.order.direction()+`" type="application/json">JSON</a>`...)
		default:
			panic("static: the page of listings has no " + strconv.Quote(p.filled))
		}
	}
	return b
}

// heading returns the last element of the path: all of it where the route begins.
func (c *contents) heading() string {
	if c.key == "" {
		return c.path
	}
	return c.key[strings.LastIndexByte(c.key[:len(c.key)-1], '/')+1:]
}

// appendCrumbs writes the links to the folders above, up to where the route begins.
func (c *contents) appendCrumbs(b []byte) []byte {
	up := strings.Count(c.key, "/")
	if up == 0 {
		return b
	}
	b = append(b, `<nav aria-label="Breadcrumb"><ol>`...)
	name := strings.TrimSuffix(c.path, c.key)
	for rest := c.key; up > 0; up-- {
		b = append(b, `<li><a href="`...)
		b = append(b, strings.Repeat("../", up)...)
		b = append(b, `"><bdi>`...)
		b = appendText(b, name)
		b = append(b, `</bdi></a></li>`...)
		slash := strings.IndexByte(rest, '/') + 1
		name, rest = rest[:slash], rest[slash:]
	}
	return append(b, "</ol></nav>\n"...)
}

// appendSummary counts what is shown.
func (c *contents) appendSummary(b []byte) []byte {
	folders, bytes := 0, int64(0)
	for i := range c.items {
		if c.items[i].folder {
			folders++
		}
		bytes += c.items[i].size
	}
	files := len(c.items) - folders
	if len(c.items) == 0 && !c.truncated() {
		return append(b, "This folder is empty."...)
	}
	if folders > 0 {
		b = appendCount(b, folders, " folder")
	}
	if files == 0 && folders > 0 {
		return b
	}
	if folders > 0 {
		b = append(b, ", "...)
	}
	b = append(appendCount(b, files, " file"), ", "...)
	return appendSize(b, bytes)
}

// appendNotice says that not all is shown.
func (c *contents) appendNotice(b []byte) []byte {
	if !c.truncated() {
		return b
	}
	b = append(b, `<p role="status">Showing the `+c.which()+" "...)
	b = appendNumber(b, len(c.items))
	b = append(b, " of "...)
	b = appendNumber(b, c.total)
	b = append(b, " entries"...)
	if c.chosen.by == byName {
		b = append(b, " by name"...)
	}
	if c.more {
		b = append(b, ", and there are more that were not looked at"...)
	}
	return append(b, ".</p>\n"...)
}

// appendHeads writes the head of each column, with the link that orders by it: the other way round if that is the order already.
func (c *contents) appendHeads(b []byte) []byte {
	for _, head := range [...]struct {
		by    sortKey
		text  string
		first order
	}{{byName, "Name", order{byName, false}}, {bySize, "Size", order{bySize, true}}, {byTime, "Modified<span> (UTC)</span>", order{byTime, true}}} {
		link, sorted, arrow := head.first, "", ""
		if c.order.by == head.by {
			link = order{head.by, !c.order.down}
			sorted, arrow = ` aria-sort="ascending"`, `<span aria-hidden="true"> ↑</span>`
			if c.order.down {
				sorted, arrow = ` aria-sort="descending"`, `<span aria-hidden="true"> ↓</span>`
			}
		}
		b = append(b, `<th scope="col"`+sorted+`><a href="./?sort=`+sortNames[link.by]+`&amp;order=`+link.direction()+`">`+head.text+arrow+`</a></th>`...)
	}
	return b
}

// appendRows writes a row for each item.
func (c *contents) appendRows(b []byte) []byte {
	if c.key != "" {
		b = append(b, `<tr class="folder"><th scope="row"><a href="../" aria-label="Parent folder">../</a></th><td></td><td></td></tr>`+"\n"...)
	}
	for i := range c.items {
		it := &c.items[i]
		if it.folder {
			b = append(b, `<tr class="folder"><th scope="row"><a href="`...)
		} else {
			b = append(b, `<tr><th scope="row"><a href="`...)
		}
		b = it.appendHref(b)
		b = append(b, `"><bdi>`...)
		b = appendText(b, it.name)
		if it.folder {
			b = append(b, `/</bdi></a></th><td>folder</td><td>`...)
		} else {
			b = append(b, `</bdi></a></th><td title="`...)
			b = appendCount(b, int(it.size), " byte")
			b = append(b, `">`...)
			b = appendSize(b, it.size)
			b = append(b, `</td><td>`...)
		}
		if t, ok := it.time(); ok {
			b = append(b, `<time datetime="`...)
			b = t.AppendFormat(b, time.RFC3339)
			b = append(b, `">`...)
			b = t.AppendFormat(b, "2006-01-02<span> 15:04</span></time>")
		}
		b = append(b, "</td></tr>\n"...)
	}
	return b
}

// time returns when an item was changed; false: in a year that RFC 3339 cannot write.
func (it *item) time() (time.Time, bool) {
	t := time.Unix(it.modified, 0).UTC()
	return t, t.Year() >= 0 && t.Year() <= 9999
}

// appendHref appends the reference to an item, relative to its directory. "./" keeps a colon from making a scheme of what is before it
// (RFC 3986, 4.2). All but the unreserved characters are escaped, so it is the same in HTML.
func (it *item) appendHref(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	b = append(b, "./"...)
	for i := 0; i < len(it.name); i++ {
		c := it.name[i]
		if lower(c) >= 'a' && lower(c) <= 'z' || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			b = append(b, c)
			continue
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	if it.folder {
		b = append(b, '/')
	}
	return b
}

// appendText appends s as text or the value of an attribute. What is not UTF-8 becomes U+FFFD, and so does each control character: one that
// turns the direction of text makes "exe.jpg" of "gpj.exe" (Unicode Standard Annex 9, 2).
func appendText(b []byte, s string) []byte {
	for _, c := range s {
		switch {
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '"':
			b = append(b, "&quot;"...)
		case c == '\'':
			b = append(b, "&#39;"...)
		case c < ' ', c >= 0x7f && c < 0xa0, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069:
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return b
}

// appendSize appends a size for people: "812 B", "1.2 MiB".
func appendSize(b []byte, size int64) []byte {
	if size < 1024 {
		return append(strconv.AppendInt(b, size, 10), " B"...)
	}
	n, unit := float64(size)/1024, 0
	for n >= 1023.95 { // it would be rounded to 1024.0
		n /= 1024
		unit++
	}
	b = strconv.AppendFloat(b, n, 'f', 1, 64)
	return append(b, ' ', "KMGTPE"[unit], 'i', 'B')
}

// appendCount appends a number of things.
func appendCount(b []byte, n int, thing string) []byte {
	b = append(appendNumber(b, n), thing...)
	if n != 1 {
		b = append(b, 's')
	}
	return b
}

// appendNumber appends a number that is not negative: "10,000".
func appendNumber(b []byte, n int) []byte {
	if n < 1000 {
		return strconv.AppendInt(b, int64(n), 10)
	}
	b = append(appendNumber(b, n/1000), ',')
	n %= 1000
	return append(b, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// A listedJSON is a directory for programs.
type listedJSON struct {
	Path      string      `json:"path"`
	Entries   []entryJSON `json:"entries"`
	Truncated bool        `json:"truncated"`
	// Shown says which entries are there if not all: "first" or "last" by name, "smallest", "largest", "oldest", "newest".
	Shown string `json:"shown,omitempty"`
	Total int    `json:"total"`
	// TotalExact is false if there are more than Total, of which nobody knows how many.
	TotalExact bool `json:"total_exact"`
}

type entryJSON struct {
	Name string `json:"name"`
	// NameBase64 is there for a name that is not UTF-8: its bytes. Name has U+FFFD in their place then.
	NameBase64 []byte `json:"name_base64,omitempty"`
	Href       string `json:"href"`
	Type       string `json:"type"`
	Size       *int64 `json:"size,omitempty"`     // of a file
	Modified   string `json:"modified,omitempty"` // RFC 3339
}

// encodeJSON writes a directory down for programs.
func (c *contents) encodeJSON() ([]byte, error) {
	to := listedJSON{Path: c.path, Entries: make([]entryJSON, len(c.items)), Truncated: c.truncated(), Total: c.total, TotalExact: !c.more}
	if to.Truncated {
		to.Shown = c.which()
	}
	for i := range c.items {
		it := &c.items[i]
		e := &to.Entries[i]
		*e = entryJSON{Name: it.name, Href: string(it.appendHref(nil)), Type: "directory"}
		if !it.folder {
			e.Type, e.Size = "file", &it.size
		}
		if !utf8.ValidString(it.name) {
			e.NameBase64 = []byte(it.name)
		}
		if t, ok := it.time(); ok {
			e.Modified = t.Format(time.RFC3339)
		}
	}
	body, err := json.Marshal(to)
	return append(body, '\n'), err
}
