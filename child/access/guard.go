package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Options are the rules of a Guard. At least one of From, Users, UsersFile and Tokens must be given: without a rule nobody is let in by
// accident. A list that is given and empty is a mistake, not "anybody".
type Options struct {
	// From are the clients' addresses and prefixes: "192.0.2.7", "10.0.0.0/8", "2001:db8::/32", or a word: "loopback", "private" or
	// "unix" (who comes over a unix socket and has no address). nil: any address.
	From []string
	// Users are hashes of passwords by name: bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14, or argon2id as a PHC string.
	Users map[string]string
	// UsersFile is a file of further users, "NAME:HASH" a line; "": none. New reads it once.
	UsersFile string
	// Tokens are "sha256:" and the SHA-256 of a bearer token in 64 hexadecimal digits; at most 256.
	Tokens []string
	// Any: the address or the credentials are enough. Else both are needed, where both are given.
	Any bool
	// Realm names in challenges what is guarded; "": "restricted".
	Realm string
}

// None reports whether o holds no rule at all.
func (o *Options) None() bool {
	return o.From == nil && o.Users == nil && o.UsersFile == "" && o.Tokens == nil
}

// An Answer is what a Guard says of a request. The zero value is none of them, so that what was forgotten lets nobody in.
type Answer uint8

const (
	_ Answer = iota
	// Granted: a rule has matched.
	Granted
	// Unauthorized: credentials could help, and there are none or wrong ones. 401 with Challenges.
	Unauthorized
	// Forbidden: the address is refused, and credentials would not change that. 403, without a challenge.
	Forbidden
	// Busy: too many passwords wait to be hashed, or the request has ended meanwhile. 503 with Retry-After.
	Busy
	// Undecided: only a password's hash can tell. Ask Judge, on a worker.
	Undecided
)

// String returns the answer's name in lower case.
func (a Answer) String() string {
	switch a {
	case Granted:
		return "granted"
	case Unauthorized:
		return "unauthorized"
	case Forbidden:
		return "forbidden"
	case Busy:
		return "busy"
	case Undecided:
		return "undecided"
	}
	return "no answer"
}

// A Guard judges requests by its rules. It is immutable; any number of goroutines may use it.
type Guard struct {
	from        *configs.Addresses // nil: any address
	credentials bool               // users or tokens are given, so a challenge makes sense
	any         bool
	accounts    accounts
	tokens      [][sha256.Size]byte
	challenges  []string
	proofs      *proofs
}

// New makes a guard and reads the users' file. The error says what is wrong with the options, or names file and line.
func New(o Options) (*Guard, error) { return newGuard(o, processProofs()) }

func newGuard(o Options, p *proofs) (*Guard, error) {
	if o.None() {
		return nil, errors.New("access: no rule is given; nobody could tell who may")
	}
	if problems := o.problems(); len(problems) > 0 {
		return nil, problems[0]
	}
	g := &Guard{any: o.Any, proofs: p, credentials: o.Users != nil || o.UsersFile != "" || o.Tokens != nil}
	if o.From != nil {
		from, _ := configs.ParseAddresses(o.From) // known to be right
		g.from = &from
	}
	users := make(map[string]string, len(o.Users))
	for name, text := range o.Users {
		users[name] = text
	}
	if o.UsersFile != "" {
		if err := readUsersFile(o.UsersFile, users); err != nil {
			return nil, err
		}
	}
	g.accounts = newAccounts(users)
	for _, text := range o.Tokens {
		digest, _ := parseToken(text)
		g.tokens = append(g.tokens, digest)
	}
	realm := o.Realm
	if realm == "" {
		realm = defaultRealm
	}
	realm = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `"`
	if o.Users != nil || o.UsersFile != "" {
		g.challenges = append(g.challenges, "Basic realm="+realm+`, charset="UTF-8"`)
	}
	if o.Tokens != nil {
		g.challenges = append(g.challenges, "Bearer realm="+realm)
	}
	return g, nil
}

// Challenges returns the values of WWW-Authenticate, one for a field line each: Basic (RFC 7617, 2 and 2.1) where there are users,
// Bearer (RFC 6750, 3) where there are tokens. The caller must not change them.
func (g *Guard) Challenges() []string { return g.challenges }

// JudgeNow is for the loop: it neither hashes a password nor waits nor allocates. Undecided: Judge has to say.
func (g *Guard) JudgeNow(r *web.Request) Answer {
	var room decoded
	answer, _ := g.judge(r, &room)
	return answer
}

// Judge is for a worker: it may wait its turn and hash a password, until r's context ends. It is never Undecided.
func (g *Guard) Judge(r *web.Request) Answer {
	if answer := g.JudgeNow(r); answer != Undecided {
		return answer
	}
	var room decoded
	answer, c := g.judge(r, &room)
	if answer != Undecided {
		return answer // proved by another request meanwhile
	}
	// An unknown name is put to somebody's hash like a known one, and its result is not used.
	proved, judged := g.proofs.prove(r.Context(), sourceOf(r), c.fact, func() bool { return c.hash.matches(c.password) && c.known })
	switch {
	case !judged:
		return Busy
	case proved && c.known:
		return Granted
	}
	return Unauthorized
}

// judge says what can be said without hashing. With Undecided comes the claim to prove; its password lies in room.
func (g *Guard) judge(r *web.Request, room *decoded) (Answer, claim) {
	inside := g.from == nil || fromOne(g.from, r)
	switch {
	case !g.credentials && inside, g.credentials && g.any && g.from != nil && inside:
		return Granted, claim{}
	case !g.credentials, !g.any && !inside:
		return Forbidden, claim{}
	}
	kind, credentials := authorization(r)
	switch {
	case kind == bearerScheme && len(g.tokens) > 0 && g.holds(credentials):
		return Granted, claim{}
	case kind == basicScheme && len(g.accounts.byName) > 0:
		name, password, ok := room.basic(credentials)
		if !ok {
			return Unauthorized, claim{}
		}
		c := g.accounts.claim(name, password)
		c.fact = g.proofs.fact(&c)
		if c.known && g.proofs.known(c.fact) {
			return Granted, claim{}
		}
		return Undecided, c
	}
	return Unauthorized, claim{}
}

// holds reports whether the token is one of ours. It compares with all of them, so that time tells nothing.
func (g *Guard) holds(token string) bool {
	if !isToken68(token) {
		return false
	}
	var room [maxCredentials]byte
	digest := sha256.Sum256(room[:copy(room[:], token)])
	found := 0
	for i := range g.tokens {
		found |= subtle.ConstantTimeCompare(digest[:], g.tokens[i][:])
	}
	return found == 1
}
