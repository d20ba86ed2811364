package control

// The messages of an adoption. A later master connects to the child's own socket in the runtime directory; the channel that it gets is
// the child's control channel from then on.

// Adopt is the first message on a connection to a child's own socket: its sender knows the secret and takes the place of the master.
// Files: the pipes for the child's standard output and standard error. Answer: Adopted, with what the child holds, or Declined.
type Adopt struct {
	// Secret is that of Board.
	Secret []byte `json:"secret"`
	// Version is the master's program version, for the log.
	Version string `json:"version"`
}

// Adopted says what the child is and holds. Files: the child's own listening socket, the segments of Board in their order, and one open
// file for each of Shards. What does not fit into one message follows in further ones, which have More set but for the last, and only
// shards. One Kept for each shared value that was set follows after the last.
type Adopted struct {
	Pid     int    `json:"pid"`
	Version string `json:"version"`
	Child   int    `json:"child"`
	// Generation and Digest are of what the child serves; 0 and "" before its first Commit.
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"`
	// Accepting is whether the child accepts, Draining whether it is on its way out.
	Accepting bool `json:"accepting"`
	Draining  bool `json:"draining"`
	// Counters are the names whose segment is among the files.
	Counters []string `json:"counters,omitempty"`
	// Values is the number of Kept messages that follow.
	Values int     `json:"values,omitempty"`
	Shards []Shard `json:"shards,omitempty"`
	More   bool    `json:"more,omitempty"`
}

// Declined answers an Adopt that is refused; the child closes the connection and stays what it was.
type Declined struct {
	Reason string `json:"reason"`
}

// Kept is a shared value as a child has it when it is adopted.
type Kept struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
	Text     []byte `json:"text"`
}
