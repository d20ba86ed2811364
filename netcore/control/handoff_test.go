package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Who fills a message counts with these sizes.
func TestConnectionsSize(t *testing.T) {
	want := ConnectionsSize
	for i := range records {
		want += records[i].Size()
	}
	body, err := encodeConnections(&Connections{Records: records})
	if err != nil || len(body) != want {
		t.Errorf("%d bytes, the records say %d; %v", len(body), want, err)
	}
	full := Connection{Unread: make([]byte, MaxBody-ConnectionsSize-(&Connection{}).Size())}
	if _, err := appendFrame(nil, &Connections{Records: []Connection{full}}, 1, 0); err != nil {
		t.Errorf("a full message: %v", err)
	}
	full.Unread = append(full.Unread, 0)
	if _, err := appendFrame(nil, &Connections{Records: []Connection{full}}, 1, 0); !errors.Is(err, ErrTooLong) {
		t.Errorf("a message that is too full: %v", err)
	}
	if _, err := appendFrame(nil, &Unread{Bytes: make([]byte, MaxBody)}, 0, 0); err != nil {
		t.Errorf("full unread: %v", err)
	}
}

func TestConnectionsRefusals(t *testing.T) {
	client := netip.MustParseAddrPort("192.0.2.1:1")
	for name, records := range map[string][]Connection{
		"none":                      nil,
		"too many":                  make([]Connection, MaxFiles+1),
		"client before the preface": {{Preface: true, Client: client}},
		"server before the preface": {{Preface: true, Server: client}},
		"hidden before the preface": {{Preface: true, Hidden: true}},
		"TLS before the preface":    {{Preface: true, HTTPS: true}},
		"hidden and named":          {{Hidden: true, Client: client}},
	} {
		if _, err := encodeConnections(&Connections{Records: records}); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
	good, err := encodeConnections(&Connections{Sequence: 1, Records: []Connection{{Peer: client, Unread: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, bytesAt ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], bytesAt)
		return b
	}
	left := len(good) - 1 - 4 - 8
	for name, body := range map[string][]byte{
		"no records":        change(4, 0, 0),
		"more records":      change(4, 2, 0),
		"far more records":  change(4, 254, 0),
		"a flag of nobody":  change(10, 8),
		"an odd address":    change(11, 5),
		"much unread":       change(len(good)-5, 2),
		"far too much":      change(len(good)-5, 255, 255, 255, 255),
		"less than no time": change(left, 0xfe, 255, 255, 255, 255, 255, 255, 255),
		"no end of time":    change(left, 255, 255, 255, 255, 255, 255, 255, 0x7f),
		"something behind":  append(bytes.Clone(good), 0),
		"two flags":         change(10, flagPreface|flagHidden),
	} {
		if err := decodeConnections(new(Connections), body); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	for n := range good {
		if err := decodeConnections(new(Connections), good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were taken", n, len(good))
		}
	}
	if _, err := encodeBody(&Unread{}); err == nil {
		t.Error("unread of nothing was encoded")
	}
	if _, err := decodeBody(KindUnread, nil); err == nil {
		t.Error("unread of nothing was taken")
	}
}

// What a decoder keeps must not change with the buffer of the next message.
func TestConnectionsShareNoMemory(t *testing.T) {
	body, err := encodeConnections(&Connections{Records: records})
	if err != nil {
		t.Fatal(err)
	}
	var m Connections
	if err := decodeConnections(&m, body); err != nil {
		t.Fatal(err)
	}
	clear(body)
	if !reflect.DeepEqual(m.Records, records) {
		t.Errorf("%+v", m.Records)
	}
}

func FuzzDecodeConnections(f *testing.F) {
	for i := range records {
		body, err := encodeConnections(&Connections{Sequence: uint32(i), Records: records[i:]})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m Connections
		if len(body) > MaxBody || decodeConnections(&m, body) != nil {
			return
		}
		again, err := encodeConnections(&m)
		if err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x became %x, %v", body, again, err)
		}
	})
}

// The same descriptors come as descriptors, in order and close-on-exec.
func TestReceiveDescriptors(t *testing.T) {
	a, b := pair(t)
	const n = MaxFiles
	if err := a.Send(&Connections{Sequence: 1, Records: make([]Connection, n)}, openFiles(t, n)...); err != nil {
		t.Fatal(err)
	}
	m, fds, err := b.ReceiveDescriptors()
	if c, is := m.(*Connections); err != nil || !is || len(c.Records) != n || len(fds) != n {
		t.Fatalf("%v, %d descriptors, %v", m, len(fds), err)
	}
	defer closeDescriptors(fds)
	for i, fd := range fds {
		if !closeOnExec(t, fd) {
			t.Fatal("a received descriptor is not close-on-exec")
		}
		if got := contentOf(t, fd); got != i {
			t.Fatalf("descriptor %d is of file %d", i, got)
		}
	}
}

func contentOf(t *testing.T, fd int) int {
	t.Helper()
	b := make([]byte, 8)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(string(b[:n]))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func TestMessagesOfAHandoffAreBinary(t *testing.T) {
	frame, err := appendFrame(nil, &Connections{Sequence: 7, Records: []Connection{{Unread: []byte("raw \x00\xff")}}}, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(frame, []byte("raw \x00\xff")) || binary.LittleEndian.Uint32(frame[headerSize:]) != 7 {
		t.Errorf("%q", frame)
	}
}

// After Shutdown a peer's word is either received, or refused to the peer: never both, and never neither. The handoff of connections relies
// on it.
func TestShutdownDecidesEveryMessage(t *testing.T) {
	for range 300 {
		a, b := pair(t)
		told := make(chan int)
		go func() { // the peer counts what it could say
			n := 0
			for b.SendWithin(0, &Held{Sequence: uint32(n)}) == nil {
				n++
				if n == 40 { // of a window that is never full
					break
				}
			}
			told <- n
		}()
		if err := a.Shutdown(); err != nil {
			t.Fatal(err)
		}
		if err := a.Send(&Ping{}); err == nil {
			t.Fatal("sent after the end")
		}
		heard := 0
		for {
			m, _, err := a.Receive()
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			if m.(*Held).Sequence != uint32(heard) {
				t.Fatalf("%v is number %d", m, heard)
			}
			heard++
		}
		if n := <-told; n != heard {
			t.Fatalf("%d messages were sent, %d received", n, heard)
		}
		if _, _, err := b.Receive(); err == nil {
			t.Fatal("the peer has not seen the end")
		}
		a.Close()
		b.Close()
	}
}
