package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
)

// How a password is proved. The steps of Judge, in order:
//
//  1. a place: at most maxPlaces workers of the process are in here, at most maxPlacesFrom for one client; others are told Busy.
//  2. a flight: who claims what somebody is proving already waits for that answer (a browser opens several connections at once).
//  3. the turn: one hash at a time, in the order of arrival.
//  4. the proof is remembered, if it is one. A wrong password leaves nothing behind.
//
// A waiter leaves when its request's context ends. If it was the first of a flight and has not begun to hash, the others try again.

const (
	maxPlaces     = 16
	maxPlacesFrom = 8

	// What is remembered: 4,096 proofs in 128 KiB, in sets of which each keeps its latest.
	factSets = 512
	factWays = 8
)

// A fact is the keyed digest of a claim: "this password gives that hash". It holds for ever, whatever the configuration says then, so
// proofs outlive a reload; the guard's part is to ask for the hash of the name.
type fact [sha256.Size]byte

// proofs is what a process knows of passwords, and the queue of those that it is to hash. It may be used by any number of goroutines.
type proofs struct {
	inner, outer [sha256.BlockSize]byte // the key of the process in HMAC's two forms (RFC 2104, 2)
	turn         chan struct{}          // holds whoever hashes

	mu      sync.Mutex // never held while somebody waits or hashes: the loop asks
	facts   [][factWays]fact
	flights map[fact]*flight
	places  int
	from    map[netip.Prefix]int // places by client
}

// processProofs are those of the process: what they bound, a processor's time and memory, is the process's. They are made when the first
// guard is.
var processProofs = sync.OnceValue(newProofs)

func newProofs() *proofs {
	p := &proofs{turn: make(chan struct{}, 1), flights: make(map[fact]*flight), from: make(map[netip.Prefix]int)}
	rand.Read(p.inner[:sha256.Size]) // it never fails
	p.outer = p.inner
	for i := range p.inner {
		p.inner[i] ^= 0x36
		p.outer[i] ^= 0x5c
	}
	return p
}

// fact returns the HMAC-SHA-256 of a claim, without an allocation. The claim of an unknown name is another one than that of a user with
// the same hash.
func (p *proofs) fact(c *claim) fact {
	var room [sha256.BlockSize + 1 + sha256.Size + len(decoded{}.plain)]byte
	n := copy(room[:], p.inner[:])
	if c.known {
		room[n] = 1
	}
	n++
	n += copy(room[n:], c.hash.id[:])
	n += copy(room[n:], c.password)
	digest := sha256.Sum256(room[:n])
	n = copy(room[:], p.outer[:])
	n += copy(room[n:], digest[:])
	return sha256.Sum256(room[:n])
}

// known reports whether f was proved, as far as it is remembered.
func (p *proofs) known(f fact) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.knownLocked(f)
}

func (p *proofs) knownLocked(f fact) bool {
	if p.facts == nil {
		return false
	}
	set := &p.facts[setOf(f)]
	for i := range set {
		if set[i] == f {
			copy(set[1:i+1], set[:i]) // the latest first
			set[0] = f
			return true
		}
	}
	return false
}

func (p *proofs) rememberLocked(f fact) {
	if p.knownLocked(f) {
		return
	}
	if p.facts == nil {
		p.facts = make([][factWays]fact, factSets)
	}
	set := &p.facts[setOf(f)]
	copy(set[1:], set[:])
	set[0] = f
}

// setOf takes some bits of what nobody can choose.
func setOf(f fact) uint64 { return binary.LittleEndian.Uint64(f[:]) % factSets }

// A flight is one proof that is under way.
type flight struct {
	done   chan struct{} // closed at its end
	judged bool          // written before: false when its first has left
	proved bool
}

// prove finds out whether f is true, by asking matches in its turn. judged is false when there is no place, or ctx has ended.
func (p *proofs) prove(ctx context.Context, from netip.Prefix, f fact, matches func() bool) (proved, judged bool) {
	if ctx.Err() != nil || !p.enter(from) {
		return false, false
	}
	defer p.leave(from)
	for {
		p.mu.Lock()
		if p.knownLocked(f) {
			p.mu.Unlock()
			return true, true
		}
		under, ok := p.flights[f]
		if !ok {
			under = &flight{done: make(chan struct{})}
			p.flights[f] = under
		}
		p.mu.Unlock()
		if !ok {
			p.fly(ctx, f, under, matches)
			return under.proved, under.judged
		}
		select {
		case <-under.done:
			if under.judged {
				return under.proved, true
			}
		case <-ctx.Done():
			return false, false
		}
	}
}

// fly waits for its turn, hashes, and ends the flight, in any case.
func (p *proofs) fly(ctx context.Context, f fact, under *flight, matches func() bool) {
	defer func() {
		p.mu.Lock()
		delete(p.flights, f)
		if under.proved {
			p.rememberLocked(f)
		}
		p.mu.Unlock()
		close(under.done)
	}()
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-p.turn }()
	if ctx.Err() != nil {
		return // both were there: the turn is another's
	}
	under.proved = matches()
	under.judged = true
}

func (p *proofs) enter(from netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.places == maxPlaces || p.from[from] == maxPlacesFrom {
		return false
	}
	p.places++
	p.from[from]++
	return true
}

func (p *proofs) leave(from netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places--
	if p.from[from]--; p.from[from] == 0 {
		delete(p.from, from)
	}
}
