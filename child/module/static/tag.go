package static

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// contentTag makes a strong entity tag of the content itself: equal in every child and on every machine, and never shared by two
// versions, however quickly they follow each other.
func contentTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// statTag makes a strong entity tag of what changes with a file whose last change has settled.
func statTag(id fileID) string {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], id.ino)
	binary.LittleEndian.PutUint64(b[8:], uint64(id.size))
	binary.LittleEndian.PutUint64(b[16:], uint64(id.mtime))
	binary.LittleEndian.PutUint64(b[24:], uint64(id.ctime))
	sum := sha256.Sum256(b[:])
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// momentTag makes a weak entity tag that nothing else has: of a file that is being written, and is too large to be read whole. No stat can
// tell its versions apart, so none of them shares a tag.
func momentTag() string { return `W/"` + rand.Text() + `"` }
