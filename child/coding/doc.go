// Package coding is the content codings of HTTP (RFC 9110, 8.4.1): their names, what a client says of them in Accept-Encoding, which media
// types are worth coding, how the header of a coded response differs, and encoders.
//
//	client := coding.Read(&r.Header)
//	best, plain := client.Best([]coding.Coding{coding.Zstd, coding.Brotli, coding.Gzip})
//
// It has no state but in the values that its users make, and answers nothing itself.
package coding
