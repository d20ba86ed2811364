package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// accounts are the users of a guard.
type accounts struct {
	byName map[string]*hash
	// decoys stand in for the hash of an unknown name: all hashes, so that among users whose hashes cost differently an unknown name costs
	// what some user's does, and the same each time, in every process that has the same users.
	decoys []*hash
	salt   [sha256.Size]byte
}

// newAccounts takes users whose hashes are right.
func newAccounts(users map[string]string) accounts {
	a := accounts{byName: make(map[string]*hash, len(users))}
	salt := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(users)) {
		h, p := parseHash(users[name])
		if p != nil {
			panic("access: the hash of " + name + " was not checked: " + p.Message)
		}
		a.byName[name] = h
		a.decoys = append(a.decoys, h)
		salt.Write(h.id[:])
	}
	salt.Sum(a.salt[:0])
	return a
}

// claim says that the password is the one that its hash was made of.
type claim struct {
	hash     *hash
	password []byte
	known    bool // the name is a user's: without it nothing is proved by a match
	fact     fact
}

func (a *accounts) claim(name, password []byte) claim {
	// The decoy is looked for in any case: the time tells nothing.
	var room [sha256.Size + maxName]byte
	n := copy(room[:], a.salt[:])
	digest := sha256.Sum256(room[:n+copy(room[n:], name)])
	decoy := a.decoys[binary.LittleEndian.Uint64(digest[:])%uint64(len(a.decoys))]
	h, known := a.byName[string(name)]
	if !known {
		h = decoy
	}
	return claim{hash: h, password: password, known: known}
}

const (
	// maxUsersFile is in bytes: some 10,000 users.
	maxUsersFile = 1 << 20
	// maxUsersLine is in bytes, of a line of the file.
	maxUsersLine = maxName + 1 + maxHash
)

// readUsersFile adds the users of a file to users. It is made for what htpasswd -B writes: NAME:HASH a line; empty lines and those that
// start with '#' say nothing. It never waits: what is no regular file is not opened.
func readUsersFile(path string, users map[string]string) error {
	text, err := readRegular(path)
	if err != nil {
		return err
	}
	return parseUsers(path, text, users)
}

func parseUsers(path string, text []byte, users map[string]string) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	places := make(map[string]int)
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimRight(line, " \t\r\n")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		wrong := func(message, cure string) error {
			return fmt.Errorf("users_file %s:%d: %s; %s", path, number, message, cure)
		}
		if len(line) > maxUsersLine {
			return wrong(fmt.Sprintf("the line has %d bytes, and %d is the most", len(line), maxUsersLine), "write NAME:HASH")
		}
		name, text, ok := strings.Cut(string(line), ":")
		if !ok {
			return wrong("there is no colon in the line", "write NAME:HASH, as `htpasswd -nB NAME` prints it")
		}
		if message, cure := badName(name); message != "" {
			return wrong(message, cure)
		}
		if _, p := parseHash(text); p != nil {
			return wrong(fmt.Sprintf("the hash of %q %s", name, p.Message), p.Cure)
		}
		if _, twice := users[name]; twice {
			if first := places[name]; first > 0 {
				return wrong(fmt.Sprintf("%q is there already in line %d", name, first), "keep one of them")
			}
			return wrong(fmt.Sprintf("%q is in users too", name), "keep one of them")
		}
		users[name], places[name] = text, number
	}
	return nil
}

// readRegular reads a regular file of at most maxUsersFile.
func readRegular(path string) ([]byte, error) {
	noFile := func(mode os.FileMode) error {
		return fmt.Errorf("users_file %s is no regular file (%s); name a file of lines NAME:HASH", path, mode)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("users_file: %w; make it with `htpasswd -cB FILE NAME`", err)
	case err != nil:
		return nil, fmt.Errorf("users_file: %w", err)
	case !info.Mode().IsRegular():
		return nil, noFile(info.Mode())
	}
	// Another file may have taken the name since: the open must not wait for a fifo's writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("users_file: %w; let the children's user or group read it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("users_file: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("users_file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, noFile(info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	if err != nil {
		return nil, fmt.Errorf("users_file: %w", err)
	}
	if len(text) > maxUsersFile {
		return nil, fmt.Errorf("users_file %s has more than %d KiB; divide its users among several routes", path, maxUsersFile>>10)
	}
	return text, nil
}
