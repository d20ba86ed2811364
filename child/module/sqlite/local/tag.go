package local

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// A blankState tells apart the contents that have a blank header: the log was begun from nothing, by whoever came first after the last user had
// gone, or after a crash with a log that was empty. Until the header is blank no more, the file itself does not change, so that its status says
// which content it is. All processes that share the index see the same one.
type blankState [3 * 8]byte

// blankStateOf returns nil if the header is not blank: it never becomes so while a connection is open.
func blankStateOf(index *lite.Index, path string) *blankState {
	before, ok := index.Header()
	if !ok || !before.Blank() {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil
	}
	if after, ok := index.Header(); !ok || after != before {
		return nil
	}
	s := new(blankState)
	binary.LittleEndian.PutUint64(s[0:], uint64(st.Ctim.Nano()))
	binary.LittleEndian.PutUint64(s[8:], uint64(st.Mtim.Nano()))
	binary.LittleEndian.PutUint64(s[16:], uint64(st.Size))
	return s
}

// tag returns the tag of the present content.
func (f *opened) tag() (engine.Tag, bool) {
	if f.index == nil {
		return engine.Tag{}, false
	}
	h, ok := f.index.Header()
	if !ok {
		return engine.Tag{}, false
	}
	return f.tagOf(&h)
}

// tagOf hashes what a content is known by: the machine's start, the file, the header of its last commit, whose salts and sums are of the log.
func (f *opened) tagOf(h *lite.Header) (engine.Tag, bool) {
	if last := f.lastTag.Load(); last != nil && last.header == *h {
		return last.tag, true
	}
	var b [16 + 16 + len(lite.Header{}) + len(blankState{})]byte
	boot := bootID()
	copy(b[:], boot[:])
	binary.LittleEndian.PutUint64(b[16:], f.id.dev)
	binary.LittleEndian.PutUint64(b[24:], f.id.ino)
	copy(b[32:], h[:])
	if h.Blank() {
		if f.blank == nil {
			return engine.Tag{}, false
		}
		copy(b[32+len(h):], f.blank[:])
	}
	sum := sha256.Sum256(b[:])
	f.lastTag.Store(&tagged{*h, engine.Tag(sum[:16])})
	return engine.Tag(sum[:16]), true
}

// tagged is a header with its tag.
type tagged struct {
	header lite.Header
	tag    engine.Tag
}

// bootID is a number of the machine's present start: memory that is mapped is lost with it.
var bootID = sync.OnceValue(func() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(strings.TrimSpace(string(text))) == 0 {
		rand.Read(id[:]) // never fails; the tags are this process's alone then
		return id
	}
	sum := sha256.Sum256(text)
	return [16]byte(sum[:16])
})
