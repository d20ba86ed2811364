package master

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tined/tined/configs"
)

func TestLineWriterNeverBlocks(t *testing.T) {
	r, w := io.Pipe() // nobody reads: the first write stands still
	l := newLineWriter(w)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const n = 3 * sinkLimit / 1024
	for range n {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if l.droppedLines() == 0 {
		t.Fatal("nothing was dropped")
	}
	begin := time.Now()
	l.close(begin.Add(10 * time.Millisecond))
	if d := time.Since(begin); d > patience {
		t.Errorf("close took %v", d)
	}
	// What was taken arrives whole once somebody reads.
	got := 0
	buffer := make([]byte, 64<<10)
	for want := n - int(l.droppedLines()); got < want; {
		k, err := r.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got += bytes.Count(buffer[:k], []byte{'\n'})
	}
	<-l.done
	if _, err := l.Write(line); err != nil {
		t.Error(err)
	}
}

func TestLineWriterEndsLines(t *testing.T) {
	out := newLines()
	l := newLineWriter(out)
	for _, s := range []string{"half", "whole\n", ""} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	l.close(time.Now().Add(patience))
	if got := out.String(); got != "half\nwhole\n" {
		t.Errorf("%q", got)
	}
}

func TestSinkFormats(t *testing.T) {
	for format, want := range map[string]string{
		"auto":  `{"level":"info","time":"`,
		"json":  `{"level":"info","time":"`,
		"human": "  INFO  hello",
	} {
		out := newLines()
		s, err := newSink(configs.Log{Level: "info", Format: format}, io.Discard, out)
		if err != nil {
			t.Fatal(err)
		}
		s.log.Debug("unseen")
		s.log.Info("hello")
		s.close()
		if got := out.String(); !strings.Contains(got, want) || strings.Contains(got, "unseen") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q", format, got)
		}
	}
	if isTerminal(new(bytes.Buffer)) {
		t.Error("a buffer is no terminal")
	}
	if _, err := newSink(configs.Log{File: filepath.Join(t.TempDir(), "none", "x")}, io.Discard, io.Discard); err == nil {
		t.Error("a log file in a folder that is not there")
	}
}

// A FIFO that nobody reads is refused as a log file: opening it must not hold the loop up.
func TestLogIsNoUnreadFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		f, err := openLog(path)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err == nil {
			t.Error("it is opened")
		}
	case <-time.After(patience):
		t.Fatal("opening waits for a reader")
	}
}
