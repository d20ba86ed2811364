package control

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// envelope is a channel's end in an envelope, and the other end.
func envelope(t *testing.T) (*Conn, *os.File) {
	t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	e, err := Pass(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	return ours, e
}

func TestPass(t *testing.T) {
	ours, e := envelope(t)
	kept, err := dup(e) // as tableflip keeps one
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(kept)
	theirs, err := Passed(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Send(&Claim{Pid: 7, Version: "v2"}); err != nil {
		t.Fatal(err)
	}
	m, _, err := ours.Receive()
	if c, ok := m.(*Claim); err != nil || !ok || c.Pid != 7 {
		t.Fatalf("%v, %v", m, err)
	}
	// The envelope that is kept holds nothing: the channel ends with its two ends.
	theirs.Close()
	if _, _, err := ours.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPassedOnce(t *testing.T) {
	_, e := envelope(t)
	again, err := dup(e)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := Passed(e)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := Passed(os.NewFile(uintptr(again), "again")); err == nil {
		t.Error("an empty envelope has a channel")
	}
}

// An envelope that nobody opens keeps nothing alive once it is closed.
func TestPassAbandoned(t *testing.T) {
	ours, e := envelope(t)
	e.Close()
	if _, _, err := ours.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

func TestPassedRefusesOtherFiles(t *testing.T) {
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Passed(plain); err == nil {
		t.Error("a device is an envelope")
	}
	e, err := Pass(func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Passed(e); err == nil {
		t.Error("a device is a channel")
	}
}
