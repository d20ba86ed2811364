package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The messages between two masters during an upgrade: the predecessor, which serves, and the successor, which it has started to take its
// place. The channel is the pair "heritage" (Pass, Passed). PROTOCOL.md has the order.

// Stages of an upgrade, in their order, as in a master's status.
const (
	StageWaiting   = "waiting"   // for its turn
	StageStarting  = "starting"  // the new executable runs, and has not claimed anything yet
	StageProving   = "proving"   // its children start, and are proved
	StageCanary    = "canary"    // its first child serves
	StageProbation = "probation" // all of them do
	StageMoving    = "moving"    // it is confirmed; the connections move
	StageDone      = "done"
	StageFailed    = "failed"
)

// Pass puts a channel's end (Pair) into an envelope: a file whose only content it is. tableflip keeps a duplicate of what it carries for as
// long as the process lives; of the envelope it may, and the channel still ends when its two ends are closed. The caller closes both files.
func Pass(theirs *os.File) (envelope *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("heritage: %w", os.NewSyscallError("socketpair", err))
	}
	defer unix.Close(fds[0])
	envelope = os.NewFile(uintptr(fds[1]), "heritage")
	raw, err := theirs.SyscallConn()
	if err == nil {
		outer := raw.Control(func(fd uintptr) {
			err = os.NewSyscallError("sendmsg", unix.Sendmsg(fds[0], []byte{0}, unix.UnixRights(int(fd)), nil, unix.MSG_NOSIGNAL))
		})
		err = errors.Join(outer, err)
	}
	if err != nil {
		_ = envelope.Close() // it is empty
		return nil, fmt.Errorf("heritage: %w", err)
	}
	return envelope, nil
}

// Passed takes the channel out of an envelope, once. It closes the envelope.
func Passed(envelope *os.File) (*Conn, error) {
	defer envelope.Close()
	fd, err := dup(envelope)
	if err != nil {
		return nil, fmt.Errorf("heritage: %w", err)
	}
	defer unix.Close(fd)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("heritage: %w", os.NewSyscallError("recvmsg", err))
	}
	files, _, err := parseAncillary(oob[:n])
	if err != nil {
		return nil, fmt.Errorf("heritage: %w", err)
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, fmt.Errorf("heritage: %d files and not one", len(files))
	}
	return New(files[0])
}

// Claim is the successor's first message: it asks for everything that a master holds. Answer: Bequest.
type Claim struct {
	Pid     int    `json:"pid"`
	Version string `json:"version"`
	// Executable is the path of the successor's image.
	Executable string `json:"executable"`
}

// Bequest answers Claim. Files: the control socket, the locked folder of the children, the segment of the lives that have ended (if Past),
// that of the shared counters (if Counters names any), the channel to the init process (if Init), then one for each of Lives, then one for each of Shards. What does not fit into one
// message follows in further ones, which have More set but for the last, and only Lives and Shards. One Kept for each shared value that was
// set follows after the last. A life that begins later comes by a Bequest of its own, with nothing but Lives.
type Bequest struct {
	// Version and Executable are the predecessor's; Identity tells whether the file behind the path still is what it runs.
	Version    string `json:"version"`
	Executable string `json:"executable"`
	Identity   string `json:"identity"`
	// Control is the path of the control socket, Children that of the children's folder.
	Control  string `json:"control"`
	Children string `json:"children"`
	// Secret is that of Board.
	Secret []byte `json:"secret"`
	// Generation is the highest number of a generation that was ever proposed.
	Generation uint64 `json:"generation"`
	// Slots is how many children there are. Each has a shard of every listener. Configured is what the configuration said of their number.
	Slots      int `json:"slots"`
	Configured int `json:"configured"`
	// Listeners are all that are served.
	Listeners []BequestListener `json:"listeners"`
	// LastListener is the highest number that a listener ever had.
	LastListener uint32 `json:"last_listener"`
	Past         bool   `json:"past,omitempty"`
	// Counters are the names whose segment is among the files.
	Counters []string `json:"counters,omitempty"`
	Init     bool     `json:"init,omitempty"`
	// Values is the number of Kept messages that follow.
	Values int `json:"values,omitempty"`
	// Supervisor is what the process that supervises the masters has said in the environment of the first one.
	Supervisor map[string]string `json:"supervisor,omitempty"`
	// Stored is what its store of sockets has: socket numbers by name.
	Stored map[string]uint64 `json:"stored,omitempty"`
	// CanaryMillis is what the operator wants in place of what the configuration says; nil: nothing.
	CanaryMillis *int64 `json:"canary_millis,omitempty"`
	// Lives are the children's lives on the board, Shards the listening sockets.
	Lives  []BequestLife `json:"lives,omitempty"`
	Shards []Shard       `json:"shards,omitempty"`
	More   bool          `json:"more,omitempty"`
}

// BequestListener is what cannot be read from a listener's sockets.
type BequestListener struct {
	ID   uint32 `json:"id"`
	Name string `json:"name"`
	// Unordered: the shards' order in the kernel's group is not that of their indexes.
	Unordered bool `json:"unordered,omitempty"`
	// Units is how many of its shards, the first ones, are of socket units; Kept: the supervisor keeps them for the next master.
	Units int  `json:"units,omitempty"`
	Kept  bool `json:"kept,omitempty"`
}

// BequestLife is the life of one of the predecessor's children.
type BequestLife struct {
	Child int `json:"child"`
	Pid   int `json:"pid"`
}

// Progress tells the operator, by way of the predecessor, how far the upgrade is. No answer.
type Progress struct {
	// Stage is one of the Stage constants, Text a line for people.
	Stage string `json:"stage"`
	Text  string `json:"text"`
}

// Offspring tells the predecessor of a child that the successor has started, with a descriptor of the process (pidfd_open(2)): if the successor
// dies, the predecessor ends what it cannot reach. No answer.
type Offspring struct {
	Pid int `json:"pid"`
}

// Yield asks the predecessor to let some of its children stop accepting; they keep their shards, and may be told to accept again. Answer:
// Yielded, once all have stopped.
type Yield struct {
	// Slots are the indexes of the children.
	Slots []int `json:"slots"`
	// Listeners are the numbers of those that the successor accepts from; from others the children go on to accept.
	Listeners []uint32 `json:"listeners"`
}

// Yielded answers Yield.
type Yielded struct{}

// Release asks the predecessor to answer nobody on the control socket any more. Answer: Released.
type Release struct{}

// Released answers Release.
type Released struct {
	// Reload: one was asked for during the upgrade; it is the successor's to do.
	Reload bool `json:"reload,omitempty"`
}

// Sick says why the successor gives up; it exits after it. No answer.
type Sick struct {
	Reason string `json:"reason"`
}

// Forward carries the taker's end of a handoff channel (file) from one master to the other, which gives it to one of its children. No answer:
// a master that has none that could take connections closes the channel.
type Forward struct {
	// Child is the index of the child that gives: its counterpart is the natural taker.
	Child int `json:"child"`
}

// Leaving says, now and then, what is left of the predecessor. No answer.
type Leaving struct {
	Children    int `json:"children"`
	Connections int `json:"connections"`
	InFlight    int `json:"in_flight"`
	// Until is when what is left then is ended, in milliseconds since 1970.
	UntilMillis int64 `json:"until_millis"`
}

// LifeOver says that one of the predecessor's lives is over. No answer.
type LifeOver struct {
	Pid int `json:"pid"`
	// Summed: the predecessor has added its counters to those of the lives that have ended. Otherwise that is the successor's to do.
	Summed bool `json:"summed,omitempty"`
}

// Farewell is the predecessor's last message: nothing of it is left but the process, which exits.
type Farewell struct {
	// Outcome is that of the upgrade, as in a master's status.
	Outcome json.RawMessage `json:"outcome,omitempty"`
}

func (*Claim) Kind() Kind    { return KindClaim }
func (*Bequest) Kind() Kind  { return KindBequest }
func (*Progress) Kind() Kind { return KindProgress }
func (*Yield) Kind() Kind    { return KindYield }
func (*Yielded) Kind() Kind  { return KindYielded }
func (*Release) Kind() Kind  { return KindRelease }
func (*Released) Kind() Kind { return KindReleased }
func (*Sick) Kind() Kind     { return KindSick }
func (*Forward) Kind() Kind  { return KindForward }
func (*Leaving) Kind() Kind  { return KindLeaving }
func (*LifeOver) Kind() Kind { return KindLifeOver }
func (*Farewell) Kind() Kind { return KindFarewell }

func (*Offspring) Kind() Kind { return KindOffspring }
