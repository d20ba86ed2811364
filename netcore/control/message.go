package control

import (
	"fmt"
	"time"
)

// Kind says which message a frame carries. The numbers are part of the protocol: they are never
// reused. 1 to 63 go from the master to a child, 128 to 255 from a child to the master, 64 to 79 between two children, and 80 to 127 between
// two masters.
type Kind uint16

// Kinds of messages, master to child.
const (
	KindPrepare    Kind = 1
	KindCommit     Kind = 2
	KindAbort      Kind = 3
	KindLend       Kind = 4
	KindInject     Kind = 5
	KindAccept     Kind = 6
	KindPause      Kind = 7
	KindDrain      Kind = 8
	KindPing       Kind = 9
	KindReopenLogs Kind = 10
	KindReport     Kind = 11
	KindBoard      Kind = 12
	KindValue      Kind = 13
	KindValueSet   Kind = 14
	KindResize     Kind = 15
	KindReturn     Kind = 16
	KindLogLevel   Kind = 17
	KindAdopt      Kind = 18
	KindPerform    Kind = 19
	KindGive       Kind = 20
	KindTake       Kind = 21
)

// Kinds of messages between children, on a handoff channel: from the giver to the taker, and back.
const (
	KindConnections Kind = 64
	KindUnread      Kind = 65
	KindHeld        Kind = 72
	KindNotHeld     Kind = 73
)

// Kinds of messages between masters: from the successor to the predecessor, and back.
const (
	KindClaim    Kind = 80
	KindProgress Kind = 81
	KindYield    Kind = 82
	KindRelease  Kind = 83
	KindSick     Kind = 84

	KindOffspring Kind = 85

	KindBequest  Kind = 96
	KindYielded  Kind = 97
	KindReleased Kind = 98
	KindForward  Kind = 99
	KindLeaving  Kind = 100
	KindLifeOver Kind = 101
	KindFarewell Kind = 102
)

// Kinds of messages, child to master.
const (
	KindHello      Kind = 128
	KindPrepared   Kind = 129
	KindFailed     Kind = 130
	KindCommitted  Kind = 131
	KindLent       Kind = 132
	KindAccepting  Kind = 133
	KindPaused     Kind = 134
	KindDraining   Kind = 135
	KindDrained    Kind = 136
	KindPong       Kind = 137
	KindReported   Kind = 138
	KindLog        Kind = 139
	KindLogDropped Kind = 140
	KindReopened   Kind = 141
	KindSetValue   Kind = 142
	KindValueSeen  Kind = 143
	KindResized    Kind = 144
	KindReturned   Kind = 145
	KindAdopted    Kind = 146
	KindDeclined   Kind = 147
	KindKept       Kind = 148
	KindPerformed  Kind = 149
	KindGave       Kind = 150
)

// kinds is the vocabulary: for each kind its name and an empty message to decode into.
var kinds = map[Kind]struct {
	name string
	make func() Message
}{
	KindPrepare:    {"prepare", func() Message { return new(Prepare) }},
	KindCommit:     {"commit", func() Message { return new(Commit) }},
	KindAbort:      {"abort", func() Message { return new(Abort) }},
	KindLend:       {"lend", func() Message { return new(Lend) }},
	KindInject:     {"inject", func() Message { return new(Inject) }},
	KindAccept:     {"accept", func() Message { return new(Accept) }},
	KindPause:      {"pause", func() Message { return new(Pause) }},
	KindDrain:      {"drain", func() Message { return new(Drain) }},
	KindPing:       {"ping", func() Message { return new(Ping) }},
	KindReopenLogs: {"reopen_logs", func() Message { return new(ReopenLogs) }},
	KindReport:     {"report", func() Message { return new(Report) }},
	KindHello:      {"hello", func() Message { return new(Hello) }},
	KindPrepared:   {"prepared", func() Message { return new(Prepared) }},
	KindFailed:     {"failed", func() Message { return new(Failed) }},
	KindCommitted:  {"committed", func() Message { return new(Committed) }},
	KindLent:       {"lent", func() Message { return new(Lent) }},
	KindAccepting:  {"accepting", func() Message { return new(Accepting) }},
	KindPaused:     {"paused", func() Message { return new(Paused) }},
	KindDraining:   {"draining", func() Message { return new(Draining) }},
	KindDrained:    {"drained", func() Message { return new(Drained) }},
	KindPong:       {"pong", func() Message { return new(Pong) }},
	KindReported:   {"reported", func() Message { return new(Reported) }},
	KindLog:        {"log", func() Message { return new(Log) }},
	KindLogDropped: {"log_dropped", func() Message { return new(LogDropped) }},
	KindReopened:   {"reopened", func() Message { return new(Reopened) }},
	KindBoard:      {"board", func() Message { return new(Board) }},
	KindValue:      {"value", func() Message { return new(Value) }},
	KindValueSet:   {"value_set", func() Message { return new(ValueSet) }},
	KindSetValue:   {"set_value", func() Message { return new(SetValue) }},
	KindValueSeen:  {"value_seen", func() Message { return new(ValueSeen) }},
	KindResize:     {"resize", func() Message { return new(Resize) }},
	KindResized:    {"resized", func() Message { return new(Resized) }},
	KindReturn:     {"return", func() Message { return new(Return) }},
	KindReturned:   {"returned", func() Message { return new(Returned) }},
	KindLogLevel:   {"log_level", func() Message { return new(LogLevel) }},
	KindAdopt:      {"adopt", func() Message { return new(Adopt) }},
	KindAdopted:    {"adopted", func() Message { return new(Adopted) }},
	KindDeclined:   {"declined", func() Message { return new(Declined) }},
	KindKept:       {"kept", func() Message { return new(Kept) }},
	KindPerform:    {"perform", func() Message { return new(Perform) }},
	KindPerformed:  {"performed", func() Message { return new(Performed) }},

	KindGive:        {"give", func() Message { return new(Give) }},
	KindTake:        {"take", func() Message { return new(Take) }},
	KindGave:        {"gave", func() Message { return new(Gave) }},
	KindConnections: {"connections", func() Message { return new(Connections) }},
	KindUnread:      {"unread", func() Message { return new(Unread) }},
	KindHeld:        {"held", func() Message { return new(Held) }},
	KindNotHeld:     {"not_held", func() Message { return new(NotHeld) }},

	KindClaim:     {"claim", func() Message { return new(Claim) }},
	KindProgress:  {"progress", func() Message { return new(Progress) }},
	KindYield:     {"yield", func() Message { return new(Yield) }},
	KindRelease:   {"release", func() Message { return new(Release) }},
	KindSick:      {"sick", func() Message { return new(Sick) }},
	KindBequest:   {"bequest", func() Message { return new(Bequest) }},
	KindYielded:   {"yielded", func() Message { return new(Yielded) }},
	KindReleased:  {"released", func() Message { return new(Released) }},
	KindForward:   {"forward", func() Message { return new(Forward) }},
	KindLeaving:   {"leaving", func() Message { return new(Leaving) }},
	KindLifeOver:  {"life_over", func() Message { return new(LifeOver) }},
	KindOffspring: {"offspring", func() Message { return new(Offspring) }},

	KindFarewell: {"farewell", func() Message { return new(Farewell) }},
}

// String is the kind's name as in PROTOCOL.md, "kind 77" for one that this version does not know.
func (k Kind) String() string {
	if e, ok := kinds[k]; ok {
		return e.name
	}
	return fmt.Sprintf("kind %d", uint16(k))
}

// Message is one of the structs of this file. Send takes pointers, Receive returns pointers.
type Message interface{ Kind() Kind }

// Prepare asks a child to build a generation beside the one that it serves, without using it yet.
// Files: first the sealed memory file with the encoded configuration sources, then one open file
// for each name in Files, in that order. Answer: Prepared or Failed.
type Prepare struct {
	Generation uint64 `json:"generation"`
	// Digest is the master's digest of the resolved configuration.
	Digest string `json:"digest"`
	// LogFormat is "human" or "json": what the master has made of the configuration's "auto", for
	// only it sees the terminal. Lines of Log messages on StreamLog are encoded so.
	LogFormat string `json:"log_format"`
	// Files are the paths of the access log files, as the resolved configuration names them.
	Files []string `json:"files,omitempty"`
	// Listeners tell which of the master's listeners each listen block is. A listener keeps its number as long as its sockets are open,
	// also under another name, so that connections and shards stay where they are.
	Listeners []Listener `json:"listeners,omitempty"`
}

// Listener ties a listen block's name to the master's number of it.
type Listener struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
}

// Commit makes the prepared generation the one that serves. Answer: Committed.
type Commit struct {
	Generation uint64 `json:"generation"`
}

// Abort drops a prepared generation; nothing has changed. No answer.
type Abort struct {
	Generation uint64 `json:"generation"`
}

// Shard names one lent listening socket. ID and Index together are its identity.
type Shard struct {
	// ID is the master's number of the listener.
	ID uint32 `json:"id"`
	// Listener is the name of the listen block.
	Listener string `json:"listener"`
	// Index is the shard's place in the listener's group; 0 for a unix socket, which has one.
	Index int `json:"index"`
	// Address is where the socket listens, the real port included: "127.0.0.1:8080", "unix:/run/x".
	Address string `json:"address"`
	// Unordered: the order of the shards in the kernel's group is not that of their indexes. A child keeps it for a later master.
	Unordered bool `json:"unordered,omitempty"`
}

// Lend gives a child listening sockets: one open file for each shard, in order, at most MaxFiles.
// The master keeps its own descriptors. The child does not accept from them before Accept.
// Answer: Lent.
type Lend struct {
	Shards []Shard `json:"shards"`
}

// Return asks for shards back: the child accepts what has queued in them, closes its descriptors, and goes on with the others. A shard that
// it does not hold is no error. Connections that came by them stay. Answer: Returned.
type Return struct {
	Shards []Shard `json:"shards"`
}

// LogLevel sets how loud the child's lines are, until the next Commit. No answer.
type LogLevel struct {
	// Level is debug, info, warn or error.
	Level string `json:"level"`
}

// Roles of an injected connection.
const (
	// RoleSelf is the master's own request: served by an internal target that answers 200 to
	// "GET / HTTP/1.1" for the host SelfHost, never by a user's route, neither counted nor logged.
	RoleSelf = "self"
	// RoleLive is a client's connection.
	RoleLive = "live"
)

// SelfHost is the Host field of the master's own requests.
const SelfHost = "tined.internal"

// Inject gives a child one connected stream socket (one open file) to serve as a connection of
// its own. No answer but what is said on that connection.
type Inject struct {
	// Role is RoleSelf or RoleLive.
	Role string `json:"role"`
}

// Accept says that the child may accept from the shards that it was lent. Answer: Accepting.
type Accept struct{}

// Pause says that the child must stop accepting and keep its shards. Answer: Paused.
type Pause struct {
	// Listeners are the numbers of those that it is about; nil: all.
	Listeners []uint32 `json:"listeners,omitempty"`
}

// Drain says that the child must stop accepting, close its lent shards, finish what is in flight,
// close idle connections, and exit with 0. Answers: Draining at once, Drained before the exit.
type Drain struct {
	// TimeoutMillis bounds the drain; after it the child closes what is left.
	TimeoutMillis int64 `json:"timeout_millis"`
	// IdleMillis is how long connections on which nothing goes on may bring one more request, which is answered with "Connection: close".
	// Otherwise the request would cross the close, and be lost for a client that does not try again. 0: they are closed at once.
	IdleMillis int64 `json:"idle_millis,omitempty"`
	// Listeners are those whose connections are given away in place of being closed, on the handoff channels that come as files: as soon as
	// nothing goes on on one. Another Drain may bring more channels when these have ended.
	Listeners []uint32 `json:"listeners,omitempty"`
}

// Ping asks whether the child's loop turns. Answer: Pong.
type Ping struct{}

// ReopenLogs replaces the child's access log files: one open file for each name. Answer: Reopened.
type ReopenLogs struct {
	Files []string `json:"files"`
}

// Report asks the child to bring its life on the board up to date. Answer: Reported.
type Report struct{}

// Board gives a child the memory that it shares with the other processes, before the first Prepare. Files, all of package board: the
// segment of this child's own life, the one of the lives that have ended, which the child only keeps, and the one of the program's
// counters, if there are any. A child whose program has registered other names fails the Prepare that follows. No answer.
type Board struct {
	// Secret is what a later master must know to adopt the child.
	Secret []byte `json:"secret,omitempty"`
	// Counters and Values are the names that the program has registered, in order.
	Counters []string `json:"counters,omitempty"`
	Values   []string `json:"values,omitempty"`
}

// Value tells a child the text of a shared value. Answer: ValueSeen; until it has come the child is told no later change, and then only
// the last one.
type Value struct {
	Name string `json:"name"`
	// Revision counts the texts of this value; a child ignores one that it knows.
	Revision uint64 `json:"revision"`
	// Text may be of any bytes.
	Text []byte `json:"text"`
}

// ValueSet answers SetValue.
type ValueSet struct {
	ID uint64 `json:"id"`
	// Revision is what the text was given; 0 when it was refused.
	Revision uint64 `json:"revision"`
	// Refused says why, "" otherwise.
	Refused string `json:"refused,omitempty"`
}

// Resize replaces the configuration's numbers of workers, for every pool of the child, until the next Commit. It is sent to a child that
// has committed a generation. Answer: Resized.
type Resize struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Hello is the first message of a child.
type Hello struct {
	Pid int `json:"pid"`
	// Version is the program's version, for status; protocol versions are in the frame.
	Version string `json:"version"`
	// Child is the index that the child was started with.
	Child int `json:"child"`
}

// Prepared answers Prepare: the generation is built and can be committed.
type Prepared struct {
	Generation uint64 `json:"generation"`
	// Digest is the child's own digest of the resolved configuration; it must equal the master's.
	Digest string `json:"digest"`
	// Chores are the housekeeper's alone.
	Chores []Chore `json:"chores,omitempty"`
}

// Failed answers Prepare: the generation cannot be built, nothing has changed.
type Failed struct {
	Generation uint64 `json:"generation"`
	// Diagnostic is for the operator: one or more lines.
	Diagnostic string `json:"diagnostic"`
}

// Committed answers Commit: every request that begins from now on is served by this generation.
type Committed struct {
	Generation uint64 `json:"generation"`
}

// Lent answers Lend: all sockets of the message have arrived.
type Lent struct {
	// Count is the number of shards that the child holds now, over all Lend messages.
	Count int `json:"count"`
}

// Accepting answers Accept: the shards are with the child's poller.
type Accepting struct{}

// Paused answers Pause: the child will not accept again before the next Accept.
type Paused struct{}

// Draining answers Drain: the child accepts no more and its shards are closed on its side.
// A child that drains of itself (a TERM from outside) sends it unasked.
type Draining struct{}

// Bounds of a child's end that both sides keep.
const (
	// ExitHooks is how long a child may take from Drained to its exit, for the program's exit hooks.
	ExitHooks = 5 * time.Second
	// FastStop is how long it may take for all of a fast stop: a Drain without time.
	FastStop = 2 * time.Second
)

// Drained says that no connection is left; the child exits with 0 after it.
type Drained struct{}

// Pong answers Ping, from the child's loop.
type Pong struct{}

// Reopened answers ReopenLogs: no line goes to the old files any more.
type Reopened struct{}

// Returned answers Return: no connection will be accepted from those shards by this child.
type Returned struct {
	// Count is the number of shards that the child still holds.
	Count int `json:"count"`
}

// Reported answers Report: what the child's life on the board says is of now.
type Reported struct{}

// Streams of a Log message.
const (
	// StreamLog is the server's log.
	StreamLog = "log"
	// StreamStdout is the master's standard output, for access logs with the file "stdout".
	StreamStdout = "stdout"
)

// Log carries whole lines that are encoded already, for the master to write as they are. Its body
// is not JSON: the stream, a newline, the lines. At most MaxLines bytes of lines.
type Log struct {
	// Stream is StreamLog or StreamStdout; empty means StreamLog.
	Stream string
	// Lines ends in a newline.
	Lines string
}

// LogDropped says that lines were lost because nobody took them.
type LogDropped struct {
	Count uint64 `json:"count"`
}

// SetValue asks the master to replace the text of a shared value. Answer: ValueSet with the same ID.
type SetValue struct {
	// ID is the child's own, for the answer.
	ID   uint64 `json:"id"`
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// ValueSeen answers Value.
type ValueSeen struct{}

// Resized answers Resize: every request that begins from now on meets the new numbers.
type Resized struct{}

// Unknown is a message of a kind that this version does not have. It may be ignored, once the
// files that came with it are closed.
type Unknown struct {
	Number Kind
	Body   []byte
}

func (*Prepare) Kind() Kind    { return KindPrepare }
func (*Commit) Kind() Kind     { return KindCommit }
func (*Abort) Kind() Kind      { return KindAbort }
func (*Lend) Kind() Kind       { return KindLend }
func (*Inject) Kind() Kind     { return KindInject }
func (*Accept) Kind() Kind     { return KindAccept }
func (*Pause) Kind() Kind      { return KindPause }
func (*Drain) Kind() Kind      { return KindDrain }
func (*Ping) Kind() Kind       { return KindPing }
func (*ReopenLogs) Kind() Kind { return KindReopenLogs }
func (*Report) Kind() Kind     { return KindReport }
func (*Hello) Kind() Kind      { return KindHello }
func (*Prepared) Kind() Kind   { return KindPrepared }
func (*Failed) Kind() Kind     { return KindFailed }
func (*Committed) Kind() Kind  { return KindCommitted }
func (*Lent) Kind() Kind       { return KindLent }
func (*Accepting) Kind() Kind  { return KindAccepting }
func (*Paused) Kind() Kind     { return KindPaused }
func (*Draining) Kind() Kind   { return KindDraining }
func (*Drained) Kind() Kind    { return KindDrained }
func (*Pong) Kind() Kind       { return KindPong }
func (*Reopened) Kind() Kind   { return KindReopened }
func (*Reported) Kind() Kind   { return KindReported }
func (*Log) Kind() Kind        { return KindLog }
func (*LogDropped) Kind() Kind { return KindLogDropped }
func (*Board) Kind() Kind      { return KindBoard }
func (*Value) Kind() Kind      { return KindValue }
func (*ValueSet) Kind() Kind   { return KindValueSet }
func (*SetValue) Kind() Kind   { return KindSetValue }
func (*ValueSeen) Kind() Kind  { return KindValueSeen }
func (*Resize) Kind() Kind     { return KindResize }
func (*Resized) Kind() Kind    { return KindResized }
func (*Return) Kind() Kind     { return KindReturn }
func (*Returned) Kind() Kind   { return KindReturned }
func (*LogLevel) Kind() Kind   { return KindLogLevel }
func (*Adopt) Kind() Kind      { return KindAdopt }
func (*Adopted) Kind() Kind    { return KindAdopted }
func (*Declined) Kind() Kind   { return KindDeclined }
func (*Kept) Kind() Kind       { return KindKept }
func (*Perform) Kind() Kind    { return KindPerform }
func (*Performed) Kind() Kind  { return KindPerformed }

// Kind is the number that the frame carried.
func (u *Unknown) Kind() Kind { return u.Number }
