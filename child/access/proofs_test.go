package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
)

func place(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
}

// factOf is some fact.
func factOf(i int) (f fact) {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

// A claim's fact is its HMAC, by crypto/hmac as well, and differs by all that makes the claim.
func TestFact(t *testing.T) {
	p := newProofs()
	key := make([]byte, sha256.Size)
	for i := range key {
		key[i] = p.inner[i] ^ 0x36
	}
	h, _ := parseHash(hashOfSecret)
	other, _ := parseHash(hashOfOther)
	long := make([]byte, maxCredentials/4*3)
	seen := make(map[fact]string)
	for name, c := range map[string]claim{
		"known":    {hash: h, known: true, password: []byte("x")},
		"unknown":  {hash: h, password: []byte("x")},
		"another":  {hash: other, known: true, password: []byte("x")},
		"password": {hash: h, known: true, password: []byte("y")},
		"empty":    {hash: h, known: true},
		"NUL":      {hash: h, known: true, password: []byte{0}},
		"longest":  {hash: h, known: true, password: long},
	} {
		mac := hmac.New(sha256.New, key)
		known := byte(0)
		if c.known {
			known = 1
		}
		mac.Write([]byte{known})
		mac.Write(c.hash.id[:])
		mac.Write(c.password)
		got := p.fact(&c)
		if got != fact(mac.Sum(nil)) {
			t.Errorf("%s: no HMAC-SHA-256", name)
		}
		if twin, ok := seen[got]; ok {
			t.Errorf("%s is %s", name, twin)
		}
		seen[got] = name
		if newProofs().fact(&c) == got {
			t.Errorf("%s: two processes have one key", name)
		}
	}
}

// Memory is bounded, the latest are remembered, and an old one that is asked for stays.
func TestRemembersTheLatest(t *testing.T) {
	p := newProofs()
	kept := factOf(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rememberLocked(kept)
	for i := range 20 * factSets * factWays {
		p.rememberLocked(factOf(i))
		if !p.knownLocked(factOf(i)) {
			t.Fatalf("fact %d is forgotten at once", i)
		}
		if !p.knownLocked(kept) {
			t.Fatalf("what is asked for all the time is forgotten after %d", i)
		}
	}
	if p.knownLocked(factOf(0)) || len(p.facts) != factSets {
		t.Error("nothing is forgotten")
	}
	if p.knownLocked(fact{}) {
		t.Error("an empty place counts")
	}
}

// What waits is bounded, by process and by client; who finds no place hears it at once.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProofs()
		p.turn <- struct{}{} // nobody hashes yet
		var group sync.WaitGroup
		claims, hashes := 0, 0
		wait := func(from int) {
			claims++
			f := factOf(claims)
			group.Go(func() {
				proved, judged := p.prove(t.Context(), place(from), f, func() bool {
					if hashes++; len(p.turn) != 1 { // the turn guards hashes
						t.Error("hashed out of turn")
					}
					return false
				})
				if proved || !judged {
					t.Errorf("%v, %v", proved, judged)
				}
			})
			synctest.Wait()
		}
		busy := func(from int) bool {
			_, judged := p.prove(t.Context(), place(from), factOf(0), func() bool { t.Error("hashed"); return true })
			return !judged
		}
		for range maxPlacesFrom {
			wait(1)
		}
		if !busy(1) {
			t.Error("a client has more than its share")
		}
		for i := range maxPlaces - maxPlacesFrom {
			wait(2 + i)
		}
		if !busy(1) || !busy(99) {
			t.Error("more wait than there are places")
		}
		<-p.turn
		group.Wait()
		if hashes != maxPlaces || p.places != 0 || len(p.from) != 0 || len(p.flights) != 0 || p.facts != nil {
			t.Errorf("%d hashes; left behind: %+v", hashes, p.from)
		}
	})
}

// Equal claims are hashed once, whatever comes of it.
func TestFlight(t *testing.T) {
	for _, truth := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newProofs()
			p.turn <- struct{}{}
			var group sync.WaitGroup
			hashes := 0
			for range maxPlacesFrom {
				group.Go(func() {
					if proved, judged := p.prove(t.Context(), place(1), factOf(1), func() bool { hashes++; return truth }); proved != truth || !judged {
						t.Errorf("%v, %v", proved, judged)
					}
				})
			}
			synctest.Wait()
			<-p.turn
			group.Wait()
			if hashes != 1 || p.known(factOf(1)) != truth {
				t.Errorf("%d hashes; remembered: %v", hashes, p.known(factOf(1)))
			}
			if proved, _ := p.prove(t.Context(), place(1), factOf(1), func() bool { hashes++; return truth }); proved != truth || (hashes == 1) != truth {
				t.Errorf("later: %v, %d hashes", proved, hashes)
			}
		})
	}
}

// A waiter ends with its request; the others of its flight go on without it.
func TestWaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProofs()
		p.turn <- struct{}{}
		type outcome struct{ proved, judged bool }
		prove := func(ctx context.Context) chan outcome {
			answer := make(chan outcome, 1)
			go func() {
				proved, judged := p.prove(ctx, place(1), factOf(1), func() bool { return true })
				answer <- outcome{proved, judged}
			}()
			synctest.Wait()
			return answer
		}
		firstCtx, leaveFirst := context.WithCancel(t.Context())
		secondCtx, leaveSecond := context.WithCancel(t.Context())
		first, second, third := prove(firstCtx), prove(secondCtx), prove(t.Context())
		leaveSecond()
		if got := <-second; got.judged {
			t.Errorf("one that has joined and left: %+v", got)
		}
		leaveFirst()
		if got := <-first; got.judged {
			t.Errorf("the first, that has left: %+v", got)
		}
		synctest.Wait()
		if len(p.flights) != 1 || p.places != 1 {
			t.Errorf("%d flights, %d places", len(p.flights), p.places)
		}
		<-p.turn
		if got := <-third; !got.proved || !got.judged {
			t.Errorf("the one that is left: %+v", got)
		}
		if _, judged := p.prove(firstCtx, place(1), factOf(2), func() bool { t.Error("hashed"); return true }); judged {
			t.Error("a request that has ended is judged")
		}
	})
}

// A panic while hashing is its request's alone: the turn, the place and the flight are free again.
func TestPanic(t *testing.T) {
	p := newProofs()
	func() {
		defer func() { _ = recover() }()
		p.prove(t.Context(), place(1), factOf(1), func() bool { panic("broken") })
	}()
	if proved, judged := p.prove(t.Context(), place(1), factOf(1), func() bool { return true }); !proved || !judged || p.places != 0 {
		t.Errorf("%v, %v, %d places", proved, judged, p.places)
	}
}

func BenchmarkJudgeNow(b *testing.B) {
	g := guard(b, newProofs(), Options{From: []string{"10.0.0.0/8", "private"}, Users: users, Tokens: []string{itemOf("x")}})
	for _, c := range []struct{ name, field string }{{"known", basic("anna:secret")}, {"unknown", basic("nobody:secret")}, {"token", "Bearer x"}} {
		r := request("10.0.0.1", c.field)
		want := g.Judge(r)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := g.JudgeNow(r); got != want && got != Undecided {
					b.Fatal(got)
				}
			}
		})
	}
	items := make([]string, maxTokens)
	for i := range items {
		items[i] = itemOf(fmt.Sprint(i))
	}
	many, r := guard(b, newProofs(), Options{Tokens: items}), request("10.0.0.1", "Bearer 0")
	b.Run("of many tokens", func(b *testing.B) {
		for b.Loop() {
			many.JudgeNow(r)
		}
	})
}
