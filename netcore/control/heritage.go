package control

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a child inherits, all of it:
//
//	descriptor 0  /dev/null
//	descriptor 1  a pipe that the master reads line by line into its log
//	descriptor 2  the same pipe's sibling, for panics and the runtime's own messages
//	descriptor 3  the control channel's end (FDControl)
//	descriptor 4  the child's own listening SEQPACKET socket in the runtime directory (FDListener),
//	              where a later master finds it
//	environment   the user's without the names that belong to supervisors and to us, and with
//	              TINED_ROLE and TINED_CHILD
//
// The housekeeper inherits the same, but for TINED_CHILD: it is a child without shards.
const (
	FDControl  = 3
	FDListener = 4

	// EnvRole names the role of a started process: RoleChild, RoleHousekeeper, or nothing for the command line.
	EnvRole = "TINED_ROLE"
	// EnvChild is the child's index, from 0.
	EnvChild = "TINED_CHILD"
	// RoleChild is the value of EnvRole in a child.
	RoleChild = "child"
	// RoleHousekeeper is the value of EnvRole in the housekeeper.
	RoleHousekeeper = "housekeeper"

	// Housekeeper is the housekeeper's index in messages, where a child has its own.
	Housekeeper = -1
)

// ownPrefixes begin the names of variables that a child must not inherit: our own, and those of
// systemd and tableflip, which a child would mistake for a message to itself.
var ownPrefixes = []string{"TINED_", "NOTIFY_", "LISTEN_", "WATCHDOG_", "TABLEFLIP_"}

// ErrNotChild: this process was not started by a master as a child.
var ErrNotChild = errors.New("this process is no child of a master")

// Heritage is what a child has from its master.
type Heritage struct {
	// Child is the index, from 0, or Housekeeper.
	Child int
	// Conn is the control channel. EOF on it means that the master is gone.
	Conn *Conn
	// Listener is the child's own listening SEQPACKET socket, close-on-exec.
	Listener *os.File
}

// Role is the role that this process was started with, "" for the command line. It is known only
// until Inherited has taken it out of the environment.
func Role() string { return os.Getenv(EnvRole) }

// Environ makes a child's environment: base without the variables of supervisors and masters, and
// with those of this protocol. child may be Housekeeper.
func Environ(base []string, child int) []string {
	env := make([]string, 0, len(base)+2)
next:
	for _, v := range base {
		for _, p := range ownPrefixes {
			if strings.HasPrefix(v, p) {
				continue next
			}
		}
		env = append(env, v)
	}
	if child == Housekeeper {
		return append(env, EnvRole+"="+RoleHousekeeper)
	}
	return append(env, EnvRole+"="+RoleChild, EnvChild+"="+strconv.Itoa(child))
}

// Inherited takes the heritage over, once: it removes the variables from the environment and sets
// close-on-exec, so that what the child executes inherits nothing. ErrNotChild when there is none.
func Inherited() (Heritage, error) {
	role, child := os.Getenv(EnvRole), os.Getenv(EnvChild)
	os.Unsetenv(EnvRole)
	os.Unsetenv(EnvChild)
	if role == RoleHousekeeper {
		return inherit(Housekeeper, FDControl, FDListener)
	}
	if role != RoleChild {
		return Heritage{}, ErrNotChild
	}
	index, err := strconv.Atoi(child)
	if err != nil || index < 0 {
		return Heritage{}, fmt.Errorf("heritage: %s=%q is no index", EnvChild, child)
	}
	return inherit(index, FDControl, FDListener)
}

func inherit(index, control, listener int) (Heritage, error) {
	for _, fd := range []int{control, listener} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return Heritage{}, fmt.Errorf("heritage: descriptor %d: %w", fd, os.NewSyscallError("fcntl", err))
		}
	}
	if v, err := unix.GetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return Heritage{}, fmt.Errorf("heritage: descriptor %d is not a listening socket", listener)
	}
	c, err := New(os.NewFile(uintptr(control), "control"))
	if err != nil {
		return Heritage{}, fmt.Errorf("heritage: descriptor %d: %w", control, err)
	}
	return Heritage{Child: index, Conn: c, Listener: os.NewFile(uintptr(listener), "child socket")}, nil
}
