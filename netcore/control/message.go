package control

import (
	"fmt"
	"time"
)

// Kind says which message a frame carries. The numbers are part of the protocol: they are never
// reused. 1 to 127 go from the master to a child, 128 to 255 from a child to the master.
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
	KindNumbers    Kind = 138
	KindLog        Kind = 139
	KindLogDropped Kind = 140
	KindReopened   Kind = 141
	KindSetValue   Kind = 142
	KindValueSeen  Kind = 143
	KindResized    Kind = 144
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
	KindNumbers:    {"numbers", func() Message { return new(Numbers) }},
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
}

// Commit makes the prepared generation the one that serves. Answer: Committed.
type Commit struct {
	Generation uint64 `json:"generation"`
}

// Abort drops a prepared generation; nothing has changed. No answer.
type Abort struct {
	Generation uint64 `json:"generation"`
}

// Shard names one lent listening socket.
type Shard struct {
	// Listener is the name of the listen block.
	Listener string `json:"listener"`
	// Index is the shard's place in the listener's group; 0 for a unix socket, which has one.
	Index int `json:"index"`
	// Address is where the socket listens, the real port included: "127.0.0.1:8080", "unix:/run/x".
	Address string `json:"address"`
}

// Lend gives a child listening sockets: one open file for each shard, in order, at most MaxFiles.
// The master keeps its own descriptors. The child does not accept from them before Accept.
// Answer: Lent.
type Lend struct {
	Shards []Shard `json:"shards"`
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
type Pause struct{}

// Drain says that the child must stop accepting, close its lent shards, finish what is in flight,
// close idle connections, and exit with 0. Answers: Draining at once, Drained before the exit.
type Drain struct {
	// TimeoutMillis bounds the drain; after it the child closes what is left.
	TimeoutMillis int64 `json:"timeout_millis"`
}

// Ping asks whether the child's loop turns. Answer: Pong.
type Ping struct{}

// ReopenLogs replaces the child's access log files: one open file for each name. Answer: Reopened.
type ReopenLogs struct {
	Files []string `json:"files"`
}

// Report asks for the child's numbers. Answer: Numbers.
type Report struct{}

// Board gives a child what its program shares with the other processes, before the first Prepare. Files: the segment of the counters,
// if there are any (package board). A child whose program has registered other names fails the Prepare that follows. No answer.
type Board struct {
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

// Numbers answers Report. Counters are since the child's start and only grow.
type Numbers struct {
	Generation uint64 `json:"generation"`
	// Connections are open now; Accepted is a counter.
	Connections int    `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	// Exchanges counts the started ones, before their first byte is written; Finished those whose
	// last byte the kernel has taken.
	Exchanges uint64 `json:"exchanges"`
	Finished  uint64 `json:"finished"`
	// ClosedByReason counts closed connections by the names of the close reasons.
	ClosedByReason map[string]uint64 `json:"closed_by_reason,omitempty"`
	// Workers exist now, of which WorkersBusy run a handler and WorkersIdle wait for one; the others
	// are on their way. WorkersMin and WorkersMax bound them; WorkersSpawned counts those that were
	// started. All are sums over the child's pools.
	Workers        int    `json:"workers"`
	WorkersBusy    int    `json:"workers_busy"`
	WorkersIdle    int    `json:"workers_idle"`
	WorkersMin     int    `json:"workers_min"`
	WorkersMax     int    `json:"workers_max"`
	WorkersSpawned uint64 `json:"workers_spawned"`
	// Queued jobs wait, before the limit of their route or for a worker. The others are counters: of
	// jobs that a worker began, of those that found the queue full, and of those that have left the
	// count of workers while they ran, for they have taken their connection over.
	Queued   int    `json:"queued"`
	Started  uint64 `json:"started"`
	Rejected uint64 `json:"rejected"`
	Excused  uint64 `json:"excused"`
	// LogDropped is a counter of log lines that found no room.
	LogDropped uint64 `json:"log_dropped"`
}

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
func (*Numbers) Kind() Kind    { return KindNumbers }
func (*Log) Kind() Kind        { return KindLog }
func (*LogDropped) Kind() Kind { return KindLogDropped }
func (*Board) Kind() Kind      { return KindBoard }
func (*Value) Kind() Kind      { return KindValue }
func (*ValueSet) Kind() Kind   { return KindValueSet }
func (*SetValue) Kind() Kind   { return KindSetValue }
func (*ValueSeen) Kind() Kind  { return KindValueSeen }
func (*Resize) Kind() Kind     { return KindResize }
func (*Resized) Kind() Kind    { return KindResized }

// Kind is the number that the frame carried.
func (u *Unknown) Kind() Kind { return u.Number }
