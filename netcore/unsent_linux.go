package netcore

import "golang.org/x/sys/unix"

// Unsent returns how many bytes a socket holds that the peer has not acknowledged: for TCP SIOCOUTQ (tcp(7)), for a unix socket what
// the peer has not read (unix(7)). It tells a client that reads slowly from one that does not read.
func Unsent(fd int) (int, error) {
	return unix.IoctlGetInt(fd, unix.SIOCOUTQ)
}
