package coding

import "strings"

// A Coding is a content coding (RFC 9110, 8.4.1).
type Coding uint8

const (
	Identity Coding = iota // content as it is
	Gzip                   // RFC 1952
	Brotli                 // RFC 7932
	Zstd                   // RFC 8878, with the bound of RFC 9659 on windows
	Count                  // how many there are
)

var (
	names      = [Count]string{"identity", "gzip", "br", "zstd"}
	extensions = [Count]string{"", ".gz", ".br", ".zst"}
)

// String returns the name of c in Content-Encoding.
func (c Coding) String() string { return names[c] }

// Extension returns what the name of a file whose content is coded ends in: ".gz", ".br", ".zst"; "" for Identity.
func (c Coding) Extension() string { return extensions[c] }

// Names returns the names of all codings but identity.
func Names() []string { return append([]string(nil), names[Gzip:]...) }

// Parse returns the coding of that name without regard to case (RFC 9110, 8.4.1); x-gzip is gzip (8.4.1.3).
func Parse(name string) (Coding, bool) {
	for c, known := range names {
		if len(name) == len(known) && strings.EqualFold(name, known) {
			return Coding(c), true
		}
	}
	if len(name) == len("x-gzip") && strings.EqualFold(name, "x-gzip") {
		return Gzip, true
	}
	return Identity, false
}
