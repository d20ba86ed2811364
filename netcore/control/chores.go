package control

// The messages of the housekeeper, a child without shards that runs what modules have to do once for the whole server.

// Chore is something to be done again and again.
type Chore struct {
	// Name is unique in its generation, and names the module and its block: "sqlite /db/ checkpoint".
	Name string `json:"name"`
	// EveryMillis is the time from one end to the next start, TimeoutMillis how long one run may take.
	EveryMillis   int64 `json:"every_millis"`
	TimeoutMillis int64 `json:"timeout_millis"`
}

// Perform asks the housekeeper for one run of a chore of the generation that it serves. Answer: Performed, with the same ID.
type Perform struct {
	ID    uint64 `json:"id"`
	Chore string `json:"chore"`
}

// Performed is the end of a run.
type Performed struct {
	ID uint64 `json:"id"`
	// Error is "" when it has succeeded.
	Error string `json:"error,omitempty"`
}
