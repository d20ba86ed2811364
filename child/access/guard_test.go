package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tined/tined/child/web"
)

// Hashes of "secret" and "other", as cheap as they are taken.
const (
	hashOfSecret = "$2a$04$JGRPcbmVZgVvQ36CItUsQOfMQaoX2emk1V9lG0hfyzyiXPvOgD07m"
	hashOfOther  = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$IkNNYB8bGtvzcmOzJAtXJA"
	aToken       = "mF_9.B5f-4.1JqM" // of RFC 6750
)

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// request is one from an address ("" for a unix socket's client), with Authorization fields.
func request(addr string, authorization ...string) *web.Request {
	r := &web.Request{Method: "GET", Path: "/"}
	if addr != "" {
		r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1234)
	}
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	return r
}

func guard(t testing.TB, p *proofs, o Options) *Guard {
	t.Helper()
	g, err := newGuard(o, p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var (
	near  = []string{"10.0.0.0/8", "unix"}
	users = map[string]string{"anna": hashOfSecret, "böse": hashOfOther}
)

func TestJudge(t *testing.T) {
	tokens := []string{itemOf("x"), itemOf(aToken), itemOf("y,y")}
	const inside, outside = "10.1.2.3", "192.0.2.1"
	right, wrong := basic("anna:secret"), basic("anna:Secret")
	for _, c := range []struct {
		name    string
		options Options
		request *web.Request
		now     Answer // Undecided, or what Judge says too
		want    Answer
	}{
		{"an address inside", Options{From: near}, request(inside), Granted, Granted},
		{"outside", Options{From: near}, request(outside), Forbidden, Forbidden},
		{"outside, credentials do not help", Options{From: near}, request(outside, right), Forbidden, Forbidden},
		{"a unix socket's client", Options{From: near}, request(""), Granted, Granted},

		{"no credentials", Options{Users: users}, request(outside), Unauthorized, Unauthorized},
		{"the right password", Options{Users: users}, request(outside, right), Undecided, Granted},
		{"by argon2id", Options{Users: users}, request(outside, basic("böse:other")), Undecided, Granted},
		{"the scheme's case does not matter", Options{Users: users}, request(outside, "bAsIc"+right[5:]), Undecided, Granted},
		{"more than one space", Options{Users: users}, request(outside, "Basic   "+right[6:]), Undecided, Granted},
		{"a wrong password", Options{Users: users}, request(outside, wrong), Undecided, Unauthorized},
		{"another's password", Options{Users: users}, request(outside, basic("anna:other")), Undecided, Unauthorized},
		{"an unknown name with somebody's password", Options{Users: users}, request(outside, basic("nobody:secret")), Undecided, Unauthorized},
		{"an unknown name with another's", Options{Users: users}, request(outside, basic("nobody:other")), Undecided, Unauthorized},
		{"the name's case matters", Options{Users: users}, request(outside, basic("Anna:secret")), Undecided, Unauthorized},
		{"a password has colons", Options{Users: users}, request(outside, basic("anna:secret:")), Undecided, Unauthorized},
		{"an empty password", Options{Users: users}, request(outside, basic("anna:")), Undecided, Unauthorized},
		{"an empty name", Options{Users: users}, request(outside, basic(":secret")), Undecided, Unauthorized},
		{"no colon", Options{Users: users}, request(outside, basic("anna")), Unauthorized, Unauthorized},
		{"two fields", Options{Users: users}, request(outside, right, right), Unauthorized, Unauthorized},
		{"an empty second field", Options{Users: users}, request(outside, right, ""), Unauthorized, Unauthorized},
		{"no padding", Options{Users: users}, request(outside, "Basic YW5uYTpzZWNyZXQ"), Unauthorized, Unauthorized},
		{"bits behind the last byte", Options{Users: users}, request(outside, "Basic YW5uYTpzZWNyZXR="), Unauthorized, Unauthorized},
		{"URL's alphabet", Options{Users: users}, request(outside, "Basic Pz8_Og=="), Unauthorized, Unauthorized},
		{"a line end", Options{Users: users}, request(outside, "Basic YW5u\nYTpzZWNyZXQ="), Unauthorized, Unauthorized},
		{"something behind", Options{Users: users}, request(outside, right+" x"), Unauthorized, Unauthorized},
		{"a control character", Options{Users: users}, request(outside, basic("anna:secret\x00")), Unauthorized, Unauthorized},
		{"no UTF-8", Options{Users: users}, request(outside, basic("b\xf6se:other")), Unauthorized, Unauthorized},
		{"another scheme", Options{Users: users}, request(outside, `Digest username="anna"`), Unauthorized, Unauthorized},
		{"the scheme alone", Options{Users: users}, request(outside, "Basic"), Unauthorized, Unauthorized},
		{"a tab for the space", Options{Users: users}, request(outside, "Basic\t"+right[6:]), Unauthorized, Unauthorized},
		{"a long password", Options{Users: users}, request(outside, basic("anna:"+strings.Repeat("x", MaxPassword+1))), Unauthorized, Unauthorized},
		{"the longest", Options{Users: users}, request(outside, basic("anna:"+strings.Repeat("x", MaxPassword))), Undecided, Unauthorized},
		{"a long name", Options{Users: users}, request(outside, basic(strings.Repeat("x", maxName+1)+":x")), Unauthorized, Unauthorized},
		{"the longest of both", Options{Users: users}, request(outside, basic(strings.Repeat("x", maxName)+":"+strings.Repeat("x", MaxPassword))), Undecided, Unauthorized},
		{"a proxy's credentials are not ours", Options{Users: users}, with(request(outside), "Proxy-Authorization", right), Unauthorized, Unauthorized},

		{"the token", Options{Tokens: tokens}, request(outside, "Bearer "+aToken), Granted, Granted},
		{"its scheme's case", Options{Tokens: tokens}, request(outside, "bearer "+aToken), Granted, Granted},
		{"the other one", Options{Tokens: tokens}, request(outside, "Bearer x"), Granted, Granted},
		{"a wrong one", Options{Tokens: tokens}, request(outside, "Bearer "+aToken+"="), Unauthorized, Unauthorized},
		{"none", Options{Tokens: tokens}, request(outside, "Bearer "), Unauthorized, Unauthorized},
		{"its digest is none", Options{Tokens: tokens}, request(outside, "Bearer "+itemOf(aToken)[7:]), Unauthorized, Unauthorized},
		{"what is no token by its syntax", Options{Tokens: tokens}, request(outside, "Bearer y,y"), Unauthorized, Unauthorized},
		{"two tokens", Options{Tokens: tokens}, request(outside, "Bearer x,x"), Unauthorized, Unauthorized},
		{"a password, and only tokens count", Options{Tokens: tokens}, request(outside, right), Unauthorized, Unauthorized},
		{"a token, and only passwords count", Options{Users: users}, request(outside, "Bearer "+aToken), Unauthorized, Unauthorized},
		{"a token as password", Options{Users: users, Tokens: tokens}, request(outside, basic("anna:"+aToken)), Undecided, Unauthorized},
		{"never from the query", Options{Tokens: tokens}, query(request(outside), "access_token="+aToken), Unauthorized, Unauthorized},

		{"both: neither", Options{From: near, Users: users}, request(outside), Forbidden, Forbidden},
		{"both: the password only", Options{From: near, Users: users}, request(outside, right), Forbidden, Forbidden},
		{"both: the address only", Options{From: near, Users: users}, request(inside), Unauthorized, Unauthorized},
		{"both: a wrong password", Options{From: near, Users: users}, request(inside, wrong), Undecided, Unauthorized},
		{"both", Options{From: near, Users: users}, request(inside, right), Undecided, Granted},
		{"any: neither", Options{From: near, Users: users, Any: true}, request(outside), Unauthorized, Unauthorized},
		{"any: the password", Options{From: near, Users: users, Any: true}, request(outside, right), Undecided, Granted},
		{"any: a wrong password", Options{From: near, Users: users, Any: true}, request(outside, wrong), Undecided, Unauthorized},
		{"any: the address", Options{From: near, Users: users, Any: true}, request(inside), Granted, Granted},
		{"any: the address, with a wrong password", Options{From: near, Users: users, Any: true}, request(inside, wrong), Granted, Granted},
	} {
		g := guard(t, newProofs(), c.options)
		if now := g.JudgeNow(c.request); now != c.now {
			t.Errorf("%s: at once %v, want %v", c.name, now, c.now)
		}
		if got := g.Judge(c.request); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// itemOf is a token in a configuration.
func itemOf(token string) string {
	digest := sha256.Sum256([]byte(token))
	return tokenPrefix + hex.EncodeToString(digest[:])
}

func with(r *web.Request, name, value string) *web.Request {
	r.Header.Add(name, value)
	return r
}

func query(r *web.Request, text string) *web.Request {
	r.RawQuery = text
	return r
}

// What was right is known from then on, beyond the guard that asked; what was wrong is not, and a changed hash is another question.
func TestRemembers(t *testing.T) {
	p := newProofs()
	o := Options{Users: users}
	g := guard(t, p, o)
	right, wrong := request("192.0.2.1", basic("anna:secret")), request("192.0.2.1", basic("anna:wrong"))
	for range 2 {
		if now, then := g.JudgeNow(wrong), g.Judge(wrong); now != Undecided || then != Unauthorized {
			t.Fatalf("wrong: %v, %v", now, then)
		}
	}
	if p.facts != nil {
		t.Error("a wrong password has left something")
	}
	if now, then, again := g.JudgeNow(right), g.Judge(right), g.JudgeNow(right); now != Undecided || then != Granted || again != Granted {
		t.Errorf("right: %v, %v, %v", now, then, again)
	}
	if now := g.JudgeNow(wrong); now != Undecided {
		t.Errorf("wrong after right: %v", now)
	}
	if now := guard(t, p, o).JudgeNow(right); now != Granted {
		t.Errorf("after a reload: %v", now)
	}
	changed := guard(t, p, Options{Users: map[string]string{"anna": hashOfOther}})
	if now, then := changed.JudgeNow(right), changed.Judge(right); now != Undecided || then != Unauthorized {
		t.Errorf("after the password was changed: %v, %v", now, then)
	}
	// The decoy of an unknown name is anna's hash here, and anna's password proves nothing.
	alone := guard(t, p, Options{Users: map[string]string{"anna": hashOfSecret}})
	if stranger := request("192.0.2.1", basic("stranger:secret")); alone.JudgeNow(stranger) != Undecided || alone.Judge(stranger) != Unauthorized {
		t.Error("an unknown name got in by a known password")
	}
	if now := guard(t, newProofs(), o).JudgeNow(right); now != Undecided {
		t.Errorf("in another process: %v", now)
	}
}

// An unknown name is hashed for, by the same hash each time and in each process.
func TestUnknownNames(t *testing.T) {
	a, b := newAccounts(users), newAccounts(users)
	used := make(map[string]bool)
	for i := range 64 {
		name := []byte(fmt.Sprint("nobody", i))
		first, second, elsewhere := a.claim(name, nil), a.claim(name, nil), b.claim(name, nil)
		if first.known || first.hash == nil || first.hash != second.hash || first.hash.id != elsewhere.hash.id {
			t.Fatalf("%s: %+v", name, first)
		}
		used[string(first.hash.id[:])] = true
	}
	if len(used) != len(users) {
		t.Errorf("%d of %d hashes stand in", len(used), len(users))
	}
	p := newProofs()
	g := guard(t, p, Options{Users: users})
	for _, name := range []string{"anna", "nobody"} {
		p.turn <- struct{}{} // nobody hashes
		ctx, cancel := context.WithCancel(t.Context())
		r := request("192.0.2.1", basic(name+":wrong"))
		r.SetContext(ctx)
		answer := make(chan Answer)
		go func() { answer <- g.Judge(r) }()
		cancel()
		if got := <-answer; got != Busy {
			t.Errorf("%s is answered without a hash: %v", name, got)
		}
		<-p.turn
	}
}

func TestChallenges(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    []string
	}{
		{Options{From: near}, nil},
		{Options{Users: users}, []string{`Basic realm="restricted", charset="UTF-8"`}},
		{Options{Tokens: []string{itemOf("x")}, Realm: `a "b" \c`}, []string{`Bearer realm="a \"b\" \\c"`}},
		{Options{Users: users, Tokens: []string{itemOf("x")}, Realm: "staff"}, []string{`Basic realm="staff", charset="UTF-8"`, `Bearer realm="staff"`}},
	} {
		if got := guard(t, newProofs(), c.options).Challenges(); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no rule":            {},
		"a realm is no rule": {Realm: "x"},
		"any of nothing":     {Any: true},
		"any of one":         {Any: true, From: near},
		"no address":         {From: []string{}},
		"no user":            {Users: map[string]string{}},
		"no token":           {Tokens: []string{}},
		"a wrong address":    {From: []string{"10.0.0.1/8"}},
		"a wrong hash":       {Users: map[string]string{"anna": "secret"}},
		"a wrong token":      {Tokens: []string{aToken}},
		"a missing file":     {UsersFile: filepath.Join(t.TempDir(), "users")},
	} {
		if g, err := New(o); err == nil || g != nil {
			t.Errorf("%s: %v, %v", name, g, err)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), aToken) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

// A file without a user is a rule that nobody meets.
func TestEmptyUsersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("# nobody yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := guard(t, newProofs(), Options{UsersFile: path})
	if got := g.Judge(request("192.0.2.1", basic("anna:secret"))); got != Unauthorized || len(g.Challenges()) != 1 {
		t.Errorf("%v, %q", got, g.Challenges())
	}
}

func TestJudgeNowAllocatesNothing(t *testing.T) {
	p := newProofs()
	o := Options{From: append(slices.Clone(near), "private", "loopback"), Users: users, Tokens: []string{itemOf("x"), itemOf(aToken)}}
	g := guard(t, p, o)
	known := request("10.0.0.1", basic("anna:secret"))
	if got := g.Judge(known); got != Granted {
		t.Fatal(got)
	}
	for name, r := range map[string]*web.Request{
		"a known password": known,
		"an unknown one":   request("10.0.0.1", basic("anna:wrong")),
		"an unknown name":  request("10.0.0.1", basic("nobody:wrong")),
		"a token":          request("10.0.0.1", "Bearer "+aToken),
		"an address":       request("192.0.2.1"),
		"no credentials":   request("fd00::1"),
	} {
		if n := testing.AllocsPerRun(100, func() { g.JudgeNow(r) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { g.Judge(known) }); n != 0 {
		t.Errorf("Judge of what is known: %v allocations", n)
	}
}

// Everything at once; made for the race detector. Nothing is left behind.
func TestManyAtOnce(t *testing.T) {
	p := newProofs()
	g := guard(t, p, Options{Users: users})
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			for n := range 8 {
				source := fmt.Sprintf("192.0.2.%d", i)
				if got := g.Judge(request(source, basic("anna:secret"))); got != Granted && got != Busy {
					t.Errorf("right: %v", got)
				}
				if got := g.Judge(request(source, basic(fmt.Sprintf("anna:wrong%d-%d", i, n)))); got != Unauthorized && got != Busy {
					t.Errorf("wrong: %v", got)
				}
				if got := g.JudgeNow(request(source, basic("nobody:secret"))); got != Undecided {
					t.Errorf("unknown: %v", got)
				}
			}
		})
	}
	group.Wait()
	if p.places != 0 || len(p.from) != 0 || len(p.flights) != 0 || len(p.turn) != 0 {
		t.Errorf("left behind: %d places, %d clients, %d flights", p.places, len(p.from), len(p.flights))
	}
}

func TestAnswersHaveNames(t *testing.T) {
	for a, want := range map[Answer]string{
		0: "no answer", Granted: "granted", Unauthorized: "unauthorized", Forbidden: "forbidden", Busy: "busy", Undecided: "undecided",
	} {
		if got := a.String(); got != want {
			t.Errorf("%d: %s", a, got)
		}
	}
}

// What is granted has a rule that matches, by another reading of the request than the guard's.
func FuzzJudge(f *testing.F) {
	f.Add([]byte{10, 1, 2, 3}, basic("anna:secret"), "", uint8(0))
	f.Add([]byte{192, 0, 2, 1}, "basic YW5uYTpzZWNyZXQ=", "", uint8(3))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01"), "Bearer "+aToken, "Bearer x", uint8(4))
	f.Add([]byte{}, "Bearer  x", "", uint8(7))
	f.Add([]byte{192, 0, 2, 1}, basic("böse:other"), "", uint8(1))
	p := newProofs()
	var guards []*Guard
	options := []Options{
		{From: near}, {Users: users}, {Tokens: []string{itemOf(aToken)}}, {Users: users, Tokens: []string{itemOf(aToken)}},
		{From: near, Users: users}, {From: near, Tokens: []string{itemOf(aToken)}, Users: users},
		{From: near, Users: users, Any: true}, {From: near, Tokens: []string{itemOf(aToken)}, Any: true},
	}
	for _, o := range options {
		guards = append(guards, guard(f, p, o))
	}
	f.Fuzz(func(t *testing.T, addr []byte, first, second string, which uint8) {
		r := &web.Request{}
		inside := len(addr) == 0
		if a, ok := netip.AddrFromSlice(addr); ok {
			r.RemoteAddr = netip.AddrPortFrom(a, 1)
			inside = a.Unmap().Is4() && a.Unmap().As4()[0] == 10
		} else if len(addr) != 0 {
			return
		}
		r.Header.Add("Authorization", first)
		if second != "" {
			r.Header.Add("authorization", second)
		}
		o, g := options[int(which)%len(options)], guards[int(which)%len(options)]

		password, token := false, false
		if second == "" {
			name, secret, ok := r.BasicAuth()
			password = ok && o.Users != nil && (name == "anna" && secret == "secret" || name == "böse" && secret == "other")
			word, rest, _ := strings.Cut(first, " ")
			token = o.Tokens != nil && strings.EqualFold(word, "bearer") && strings.TrimLeft(rest, " ") == aToken
		}
		byAddress, byCredentials := o.From != nil && inside, password || token
		want := byAddress || byCredentials
		if !o.Any {
			want = (o.From == nil || inside) && (o.Users == nil && o.Tokens == nil || byCredentials)
		}
		now := g.JudgeNow(r)
		got := g.Judge(r)
		if got == Undecided || now != Undecided && now != got {
			t.Fatalf("%v at once, then %v", now, got)
		}
		if got == Granted && !want {
			// net/http wants one space behind the scheme.
			word, rest, _ := strings.Cut(first, " ")
			again := web.Request{}
			again.Header.Add("Authorization", word+" "+strings.TrimLeft(rest, " "))
			name, secret, _ := again.BasicAuth()
			if second != "" || !(name == "anna" && secret == "secret" || name == "böse" && secret == "other") || o.Users == nil || o.From != nil && !inside && !o.Any {
				t.Fatalf("%q from %v is let in by %d", first, r.RemoteAddr, which)
			}
		}
		if got == Forbidden && (o.Any && byCredentials || inside) {
			t.Fatalf("%q from %v: %v", first, r.RemoteAddr, got)
		}
	})
}
