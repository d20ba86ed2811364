package control

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// samples has one message of every kind with every field set.
var samples = []Message{
	&Prepare{Generation: 7, Digest: "abc", LogFormat: "json", Files: []string{"/a", "/b"}, Listeners: []Listener{{Name: "main", ID: 4}}},
	&Commit{Generation: 7},
	&Abort{Generation: 7},
	&Lend{Shards: []Shard{{ID: 4, Listener: "main", Index: 3, Address: "[::1]:80", Unordered: true}}},
	&Inject{Role: RoleSelf},
	&Accept{},
	&Pause{}, &Pause{Listeners: []uint32{4, 7}},
	&Drain{TimeoutMillis: 30000, IdleMillis: 15000, Listeners: []uint32{4}},
	&Ping{},
	&ReopenLogs{Files: []string{"/var/log/a.log"}},
	&Report{},
	&Hello{Pid: 812, Version: "v1", Child: 2},
	&Prepared{Generation: 7, Digest: "abc", Chores: []Chore{{Name: "a", EveryMillis: 60000, TimeoutMillis: 1000}}},
	&Failed{Generation: 7, Diagnostic: "a.hcl:1:2: no <such> thing"},
	&Committed{Generation: 7},
	&Lent{Count: 4},
	&Accepting{},
	&Paused{},
	&Draining{},
	&Drained{},
	&Pong{},
	&Reported{},
	&Log{Stream: StreamStdout, Lines: "one \"quoted\" \xff\x00\ntwo\n"},
	&LogDropped{Count: 9},
	&Reopened{},
	&Board{Secret: []byte{1, 255}, Counters: []string{"visits", "a/b"}, Values: []string{"motd"}},
	&Value{Name: "motd", Revision: 7, Text: []byte("\xff\x00 any bytes")},
	&ValueSet{ID: 3, Revision: 8}, &ValueSet{ID: 4, Refused: "no such value"},
	&SetValue{ID: 3, Name: "motd", Text: []byte("hello")},
	&ValueSeen{},
	&Resize{Min: 2, Max: 64},
	&Resized{},
	&Return{Shards: []Shard{{ID: 4, Index: 3}}},
	&Returned{Count: 2},
	&LogLevel{Level: "debug"},
	&Adopt{Secret: []byte{1, 255}, Version: "v2"},
	&Adopted{Pid: 812, Version: "v1", Child: 2, Generation: 7, Digest: "abc", Accepting: true, Draining: true, Counters: []string{"visits"}, Values: 1,
		Shards: []Shard{{ID: 4, Listener: "main", Index: 2, Address: "[::1]:80"}}, More: true},
	&Declined{Reason: "it has a master"},
	&Kept{Name: "motd", Revision: 7, Text: []byte("\xff\x00 any bytes")},
	&Perform{ID: 9, Chore: "sqlite /db/ checkpoint"},
	&Performed{ID: 9, Error: "disk full"},
	&Give{ID: 5, Count: 300, Listeners: []uint32{4, 7}},
	&Take{},
	&Gave{ID: 5, Count: 299, Broken: "the taker has gone"},
	&Connections{Sequence: 1<<32 - 1, Records: records},
	&Unread{Bytes: []byte("GET / HTTP/1.1\r\n\x00\xff")},
	&Held{Sequence: 1<<32 - 1},
	&NotHeld{Sequence: 2, Reason: "it drains"},
	&Claim{Pid: 812, Version: "v2", Executable: "/usr/bin/tined"},
	&Bequest{Version: "v1", Executable: "/usr/bin/tined", Slots: 4, Listeners: []BequestListener{{ID: 4, Name: "main", Unordered: true}},
		LastListener: 9, Past: true, Values: 2, Lives: []BequestLife{{Child: 3, Pid: 813}}, Shards: []Shard{{ID: 4, Index: 3}}, More: true},
	&Progress{Stage: StageProving, Text: "it proves its children"},
	&Yield{Slots: []int{0, 3}, Listeners: []uint32{4}},
	&Yielded{},
	&Release{},
	&Released{Reload: true},
	&Sick{Reason: "a child has crashed"},
	&Forward{Child: 3},
	&Leaving{Children: 2, Connections: 9, InFlight: 1, UntilMillis: 1 << 41},
	&LifeOver{Pid: 813},
	&Farewell{},
	&Offspring{Pid: 77},
	&Unknown{Number: 999, Body: []byte("whatever")},
}

// records has every form of a record.
var records = []Connection{
	{},
	{Listener: 1<<32 - 1, Peer: netip.MustParseAddrPort("192.0.2.1:1"), Preface: true, LeftMillis: -1, Unread: []byte("PROXY ")},
	{Listener: 4, Peer: netip.MustParseAddrPort("[2001:db8::1]:65535"), Client: netip.MustParseAddrPort("192.0.2.9:0"),
		Server: netip.MustParseAddrPort("[::ffff:192.0.2.1]:443"), HTTPS: true, Exchanges: 1<<32 - 1, Received: 1<<64 - 1, Sent: 1<<64 - 2,
		LeftMillis: maxLeft, Unread: []byte("GET / HT\x00\xff")},
	{Hidden: true, HTTPS: true, Exchanges: 1, Received: 2, Sent: 3, LeftMillis: 60_000},
}

func TestFrameRoundTrip(t *testing.T) {
	seen := map[Kind]bool{}
	for _, m := range samples {
		seen[m.Kind()] = true
		b, err := appendFrame(nil, m, 3, 42)
		if err != nil {
			t.Fatal(err)
		}
		got, h, err := decodeFrame(b)
		if err != nil {
			t.Fatalf("%s: %v", m.Kind(), err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, want %+v", m.Kind(), got, m)
		}
		if h.files != 3 || h.id != 42 || h.kind != m.Kind() {
			t.Errorf("%s: header %+v", m.Kind(), h)
		}
	}
	for k := range kinds {
		if !seen[k] {
			t.Errorf("no sample of %s", k)
		}
	}
}

// The page and the code must name the same kinds by the same numbers.
func TestProtocolPageIsComplete(t *testing.T) {
	page, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for k, e := range kinds {
		row := "| " + strconv.Itoa(int(k)) + " | " + e.name + " |"
		if !bytes.Contains(page, []byte(row)) {
			t.Errorf("PROTOCOL.md has no row %q", row)
		}
		if got := e.make().Kind(); got != k {
			t.Errorf("kind %d makes a message of kind %d", k, got)
		}
	}
}

func TestFrameRefusals(t *testing.T) {
	if _, err := appendFrame(nil, &Failed{Diagnostic: strings.Repeat("x", MaxBody)}, 0, 0); !errors.Is(err, ErrTooLong) {
		t.Errorf("long body: %v", err)
	}
	if _, err := appendFrame(nil, &Log{Lines: strings.Repeat("x", MaxLines)}, 0, 0); err != nil {
		t.Errorf("MaxLines does not fit: %v", err)
	}
	if _, err := appendFrame(nil, &Log{Stream: "a\nb"}, 0, 0); err == nil {
		t.Error("a stream with a newline was taken")
	}
	if _, err := appendFrame(nil, &Accept{}, MaxFiles+1, 0); !errors.Is(err, ErrTooManyFiles) {
		t.Errorf("254 files: %v", err)
	}
	good, err := appendFrame(nil, &Commit{Generation: 1}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"empty":        {nil, ErrMalformed},
		"header only":  {good[:headerSize], ErrMalformed},
		"short header": {good[:headerSize-1], ErrMalformed},
		"magic":        {change(0, 0), ErrMalformed},
		"version":      {change(2, Version+1), ErrVersion},
		"length":       {change(12, 0xff), ErrMalformed},
		"files":        {change(7, 0xff), ErrMalformed},
		"json":         {change(headerSize, '['), ErrMalformed},
		"trailing":     {append(bytes.Clone(good), ' '), ErrMalformed},
	} {
		if _, _, err := decodeFrame(c.frame); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestUnknownKeysAndKinds(t *testing.T) {
	b, err := appendFrame(nil, &Unknown{Number: KindCommit, Body: []byte(`{"generation":5,"later":[1,2]}`)}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := decodeFrame(b)
	if c, ok := m.(*Commit); err != nil || !ok || c.Generation != 5 {
		t.Fatalf("got %+v, %v", m, err)
	}
	if got := Kind(999).String(); got != "kind 999" {
		t.Errorf("String() = %q", got)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, m := range samples {
		b, err := appendFrame(nil, m, 0, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, h, err := decodeFrame(b)
		if err != nil {
			if m != nil {
				t.Fatal("a message beside an error")
			}
			return
		}
		// JSON may grow when it is written again (an invalid byte becomes three).
		again, err := appendFrame(nil, m, h.files, h.id)
		if errors.Is(err, ErrTooLong) {
			return
		}
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		m2, h2, err := decodeFrame(again)
		if err != nil || h2.kind != h.kind || h2.files != h.files || h2.id != h.id {
			t.Fatalf("%+v: %+v, %v", h, h2, err)
		}
		if b1, b2 := mustBody(t, m), mustBody(t, m2); !bytes.Equal(b1, b2) {
			t.Fatalf("%q became %q", b1, b2)
		}
	})
}

func mustBody(t *testing.T, m Message) []byte {
	b, err := encodeBody(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
