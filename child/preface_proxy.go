package child

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt; section numbers below are its). Why the parser is our own:
// docs/adr/0007.

const (
	proxyV1Begin = "PROXY "
	proxyV1Max   = 107 // bytes of a line with its CRLF (2.1)

	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed     = 16 // bytes of the part before the addresses
	// proxyV2Max bounds a whole header of version 2. Its length field allows 65,551 bytes; what senders put behind the addresses (a
	// name, a certificate's subject, an identifier of the cloud) takes a few hundred.
	proxyV2Max = 4096

	proxyCommandLocal = 0
	proxyCommandProxy = 1

	proxyFamilyUnspec = 0
	proxyFamilyInet   = 1
	proxyFamilyInet6  = 2
	proxyFamilyUnix   = 3

	proxyTransportUnspec = 0
	proxyTransportDgram  = 2

	proxyTypeCRC32C = 0x03
	proxyTypeSSL    = 0x20
	proxyClientSSL  = 0x01 // bit of the SSL vector's first byte: the client came by TLS (2.2.6)
)

// errProxyHeader is the one refusal: what is wrong in detail is the proxy's maker's to find out.
var errProxyHeader = errors.New("no PROXY header")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A proxyHeader is what a PROXY header says.
type proxyHeader struct {
	client, server netip.AddrPort // zero: it tells none
	own            bool           // the proxy's own connection, such as a health check
	https          bool           // the client came to the proxy by TLS
}

// proxyProtocol is the stage of a listener with proxy_protocol. Only peers that are trusted come so far (see admit).
type proxyProtocol struct{}

// advance implements preface.
func (proxyProtocol) advance(c *conn, data []byte) (int, prefaceResult) {
	h, size, err := parseProxyHeader(data)
	switch {
	case err != nil:
		return 0, prefaceRefused
	case size == 0:
		return 0, prefacePartial
	}
	e := c.entry
	e.client, e.server, e.https = h.client, h.server, h.https
	e.hidden = !h.own && !h.client.IsValid()
	return size, prefaceDone
}

// parseProxyHeader reads the PROXY header that data begins with, and returns its size in bytes: 0 when more bytes are needed. It looks
// at no byte behind the header, and its answer does not depend on how many follow.
func parseProxyHeader(data []byte) (h proxyHeader, size int, err error) {
	switch {
	case begins(data, proxyV1Begin):
		if len(data) > len(proxyV1Begin) {
			return parseProxyV1(data)
		}
	case begins(data, proxyV2Signature):
		if len(data) >= proxyV2Fixed {
			return parseProxyV2(data)
		}
	default:
		return h, 0, errProxyHeader
	}
	return h, 0, nil
}

// begins reports whether data begins with s, as far as it goes.
func begins(data []byte, s string) bool {
	n := min(len(data), len(s))
	return string(data[:n]) == s[:n]
}

// parseProxyV1 reads a line of version 1 (2.1).
func parseProxyV1(data []byte) (h proxyHeader, size int, err error) {
	end := bytes.IndexAny(data[:min(len(data), proxyV1Max)], "\r\n")
	switch {
	case end < 0 && len(data) < proxyV1Max || end == len(data)-1 && end < proxyV1Max-1 && data[end] == '\r':
		return h, 0, nil
	case end < 0 || end >= proxyV1Max-1 || data[end] != '\r' || data[end+1] != '\n':
		return h, 0, errProxyHeader
	}
	size = end + len("\r\n")
	protocol, addresses, _ := strings.Cut(string(data[len(proxyV1Begin):end]), " ")
	switch protocol {
	case "UNKNOWN": // whatever follows is ignored
		return h, size, nil
	case "TCP4", "TCP6":
	default:
		return h, 0, errProxyHeader
	}
	fields := strings.Split(addresses, " ")
	if len(fields) != 4 {
		return h, 0, errProxyHeader
	}
	for i, end := range [...]*netip.AddrPort{&h.client, &h.server} {
		address, err := netip.ParseAddr(fields[i])
		port, ok := proxyPort(fields[2+i])
		if err != nil || !ok || address.Zone() != "" || address.Is4() != (protocol == "TCP4") {
			return proxyHeader{}, 0, errProxyHeader
		}
		*end = netip.AddrPortFrom(address.Unmap(), port)
	}
	return h, size, nil
}

// proxyPort reads a port: digits without a sign or a leading zero.
func proxyPort(s string) (uint16, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' || s[0] == '0' && s != "0" {
		return 0, false
	}
	port, err := strconv.ParseUint(s, 10, 16)
	return uint16(port), err == nil
}

// parseProxyV2 reads a header of version 2, of which the fixed part is there (2.2).
func parseProxyV2(data []byte) (h proxyHeader, size int, err error) {
	version, command := data[12]>>4, data[12]&15
	family, transport := data[13]>>4, data[13]&15
	size = proxyV2Fixed + int(binary.BigEndian.Uint16(data[14:]))
	if version != 2 || command > proxyCommandProxy || size > proxyV2Max {
		return h, 0, errProxyHeader
	}
	if len(data) < size {
		return h, 0, nil
	}
	if command == proxyCommandLocal { // everything else in it is to be discarded, the family too
		h.own = true
		return h, size, nil
	}
	if family > proxyFamilyUnix || transport > proxyTransportDgram {
		return h, 0, errProxyHeader
	}
	length := [...]int{proxyFamilyUnspec: 0, proxyFamilyInet: 2*4 + 2*2, proxyFamilyInet6: 2*16 + 2*2, proxyFamilyUnix: 2 * 108}[family]
	header := data[:size]
	if family == proxyFamilyUnspec || transport == proxyTransportUnspec { // how long its addresses are is not defined
		return h, size, nil
	}
	if len(header) < proxyV2Fixed+length {
		return h, 0, errProxyHeader
	}
	addresses, vectors := header[proxyV2Fixed:proxyV2Fixed+length], proxyV2Fixed+length
	// The addresses of unix sockets are names; the socket's own stay.
	if family == proxyFamilyInet || family == proxyFamilyInet6 {
		n := (length - 2*2) / 2
		client, _ := netip.AddrFromSlice(addresses[:n])
		server, _ := netip.AddrFromSlice(addresses[n : 2*n])
		ports := addresses[2*n:]
		h.client = netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports))
		h.server = netip.AddrPortFrom(server.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	}
	if !h.readVectors(header, vectors) {
		return proxyHeader{}, 0, errProxyHeader
	}
	return h, size, nil
}

// readVectors goes over the type-length-value vectors behind the addresses: the checksum must be right, the rest is skipped but for the
// client's TLS.
func (h *proxyHeader) readVectors(header []byte, from int) bool {
	for from < len(header) {
		if len(header)-from < 3 {
			return false
		}
		kind, begin := header[from], from+3
		from = begin + int(binary.BigEndian.Uint16(header[from+1:]))
		if from > len(header) {
			return false
		}
		switch value := header[begin:from]; kind {
		case proxyTypeCRC32C:
			if len(value) != crc32.Size || binary.BigEndian.Uint32(value) != proxyChecksum(header, begin) {
				return false
			}
		case proxyTypeSSL:
			h.https = len(value) > 0 && value[0]&proxyClientSSL != 0
		}
	}
	return true
}

// proxyChecksum is the CRC32C of the header with zeros where the checksum stands, from at on (2.2.3).
func proxyChecksum(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, crc32.Size))
	return crc32.Update(sum, castagnoli, header[at+crc32.Size:])
}
