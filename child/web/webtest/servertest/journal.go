package servertest

import (
	"strings"
	"sync"
	"time"
)

// journal is what a server prints: kept, and waited for.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed at the next write
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.more)
	j.more = make(chan struct{})
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until done is true of the text, and says whether it became so before the process ended or patience did.
func (j *journal) await(done func(text string) bool, ended <-chan struct{}) bool {
	bound := time.NewTimer(patience)
	defer bound.Stop()
	for over := false; ; {
		j.mu.Lock()
		text, more := j.text.String(), j.more
		j.mu.Unlock()
		if done(text) {
			return true
		}
		if over {
			return false
		}
		select {
		case <-more:
		case <-ended:
			over = true // its last words may be newer than text
		case <-bound.C:
			return false
		}
	}
}
