package module

import (
	"sync"

	"syscall"
)

// Claims are the files that a module of this process keeps to itself, such as the databases of one: nobody else opens them. A process's
// POSIX locks on a file are gone once it closes any descriptor of that file, whoever has opened it (fcntl_locking(2)); so a descriptor that
// somebody opened before the claim is not closed before the claim has ended.
//
// The zero value is ready. Its methods may be called by any goroutine, and of a nil *Claims, which has none.
type Claims struct {
	mu    sync.RWMutex // held for reading while a descriptor is closed: no claim begins meanwhile
	files map[fileKey]*claim
}

type fileKey struct{ dev, ino uint64 }

// A claim is a file with the number of those who claim it.
type claim struct {
	holders int
	parked  []int // descriptors to close at its end
}

// Claim makes the file with this device and inode the caller's, until release is called. It can be claimed by several. When it returns, no
// descriptor of the file is being closed by way of Close.
func (c *Claims) Claim(dev, ino uint64) (release func()) {
	key := fileKey{dev, ino}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = map[fileKey]*claim{}
	}
	if c.files[key] == nil {
		c.files[key] = new(claim)
	}
	c.files[key].holders++
	return sync.OnceFunc(func() { c.release(key) })
}

func (c *Claims) release(key fileKey) {
	c.mu.Lock()
	held := c.files[key]
	held.holders--
	var parked []int
	if held.holders == 0 {
		delete(c.files, key)
		parked = held.parked
	}
	for _, fd := range parked { // under the lock: no claim begins meanwhile
		syscall.Close(fd)
	}
	c.mu.Unlock()
}

// Claimed reports whether somebody claims the file.
func (c *Claims) Claimed(dev, ino uint64) bool {
	if c == nil {
		return false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.files[fileKey{dev, ino}] != nil
}

// Close closes a descriptor of the file, at the end of the claim if there is one. It may wait for the file system, as close(2) does.
func (c *Claims) Close(fd int, dev, ino uint64) {
	if c == nil {
		syscall.Close(fd)
		return
	}
	c.mu.RLock()
	held := c.files[fileKey{dev, ino}]
	if held == nil {
		syscall.Close(fd)
		c.mu.RUnlock()
		return
	}
	c.mu.RUnlock()
	c.park(fd, fileKey{dev, ino})
}

// park keeps a descriptor until the end of its file's claim, which may have come by now.
func (c *Claims) park(fd int, key fileKey) {
	c.mu.Lock()
	held := c.files[key]
	if held != nil {
		held.parked = append(held.parked, fd)
	}
	c.mu.Unlock()
	if held == nil {
		c.Close(fd, key.dev, key.ino)
	}
}
