package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/configs"
)

const (
	defaultRealm = "restricted"
	// maxRealm bounds a realm, in bytes.
	maxRealm = 255
	// maxTokens bounds the tokens of a guard: the loop compares with all of them.
	maxTokens = 256
)

// Attributes are those of a block that says who may.
func Attributes() []configs.Attribute {
	return []configs.Attribute{
		{Name: "from", Type: configs.Strings, Doc: `addresses and prefixes of clients, or "loopback", "private", "unix"`, Example: `["10.0.0.0/8"]`},
		{Name: "users", Type: configs.StringMap, Secret: true, Doc: "hashes of passwords by user name: bcrypt or argon2id", Example: `{ "anna" = "$2y$10$…" }`},
		{Name: "users_file", Type: configs.Path, Doc: "file of users, NAME:HASH a line; read when the configuration is loaded", Example: `"users"`},
		{Name: "tokens", Type: configs.Strings, Secret: true, Doc: "SHA-256 of bearer tokens", Example: `["sha256:…"]`},
		{Name: "satisfy", Type: configs.String, Default: "all", OneOf: []string{"all", "any"}, Doc: "whether from and the credentials are both needed, or either is enough"},
		{Name: "realm", Type: configs.String, Default: defaultRealm, Doc: "what is guarded, as clients show it to who logs in"},
	}
}

// OptionsOf reads a block that has Attributes.
func OptionsOf(b *configs.Block) Options {
	return Options{
		From: b.Strings("from"), Users: b.StringMap("users"), UsersFile: b.Path("users_file"), Tokens: b.Strings("tokens"),
		Any: b.String("satisfy") == "any", Realm: b.String("realm"),
	}
}

// Check finds what is wrong in a block that has Attributes. It opens no file: what is in users_file is New's to find. A block without any
// rule is not wrong here, since it may have others (see Options.None).
func Check(b *configs.Block) []configs.Problem {
	o := OptionsOf(b)
	return o.problems()
}

// problems are all mistakes of o, at the attributes of their names.
func (o *Options) problems() []configs.Problem {
	var found []configs.Problem
	add := func(at, message, cure string) {
		found = append(found, configs.Problem{At: at, Message: message, Cure: cure})
	}
	if o.From != nil && len(o.From) == 0 {
		add("from", "from is empty: no address would be let in", "name addresses, or leave it out for any")
	}
	_, wrong := configs.ParseAddresses(o.From)
	for _, p := range wrong {
		p.At, p.Message = "from", "from: "+p.Message
		found = append(found, p)
	}
	if o.Users != nil && len(o.Users) == 0 {
		add("users", "users is empty: nobody could log in", "add a user, or leave it out")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Users)) {
		if message, cure := badName(name); message != "" {
			add("users", "users: "+message, cure)
			continue
		}
		if _, p := parseHash(o.Users[name]); p != nil {
			add("users", fmt.Sprintf("users: the hash of %q %s", name, p.Message), p.Cure)
		}
	}
	if o.Tokens != nil && len(o.Tokens) == 0 {
		add("tokens", "tokens is empty: no token would be let in", "add one, as `tined new-token` prints it, or leave it out")
	}
	if len(o.Tokens) > maxTokens {
		add("tokens", fmt.Sprintf("tokens has %d items, and %d is the most", len(o.Tokens), maxTokens), "divide them among several blocks")
	}
	for i, text := range o.Tokens {
		if _, p := parseToken(text); p != nil {
			add("tokens", fmt.Sprintf("tokens: item %d %s", i+1, p.Message), p.Cure)
			found[len(found)-1].Item = i + 1
		}
	}
	credentials := o.Users != nil || o.UsersFile != "" || o.Tokens != nil
	if o.Any && !(credentials && o.From != nil) {
		add("satisfy", `satisfy = "any" needs two kinds of rules, from and credentials`, "add from, or one of users, users_file and tokens; or remove satisfy")
	}
	if i := strings.IndexFunc(o.Realm, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 || len(o.Realm) > maxRealm {
		add("realm", fmt.Sprintf("a realm is printable ASCII of at most %d characters", maxRealm), `write one like "staff only"`)
	}
	return found
}

// badName says what is wrong with a user's name (RFC 7617, 2), "" when nothing is.
func badName(name string) (message, cure string) {
	switch {
	case name == "":
		return "a name is empty", "write the user's name"
	case !utf8.ValidString(name):
		return fmt.Sprintf("the name %q is no UTF-8", name), "save it as UTF-8"
	case len(name) > maxName:
		return fmt.Sprintf("the name %q… has %d bytes", name[:16], len(name)), fmt.Sprintf("shorten it to %d", maxName)
	case strings.Contains(name, ":"):
		return fmt.Sprintf("the name %q has a colon, which ends a name in what clients send", name), "leave the colon out"
	case hasControls(name):
		return fmt.Sprintf("the name %q has a control character", name), "remove it"
	case strings.TrimSpace(name) != name:
		return fmt.Sprintf("the name %q has white space around it", name), fmt.Sprintf("write %q", strings.TrimSpace(name))
	}
	return "", ""
}

// tokenPrefix stands before the digest of a token, so that a token itself is told from it.
const tokenPrefix = "sha256:"

// parseToken reads an item of tokens. The problem's message completes "item 1 …", and holds nothing of what may be a secret.
func parseToken(text string) (digest [sha256.Size]byte, _ *configs.Problem) {
	const cure = "write the line that `tined new-token` prints, or \"sha256:\" and what `printf %s TOKEN | sha256sum` prints"
	digits, ok := strings.CutPrefix(text, tokenPrefix)
	switch n, err := hex.DecodeString(digits); {
	case !ok && len(text) == hex.EncodedLen(sha256.Size) && err == nil:
		return digest, &configs.Problem{Message: "does not say what it is", Cure: `write "sha256:" before it, if it is the SHA-256 of a token`}
	case !ok:
		return digest, &configs.Problem{Message: "is no digest of a token", Cure: cure}
	case err != nil || len(n) != sha256.Size:
		return digest, &configs.Problem{Message: fmt.Sprintf("needs %d hexadecimal digits behind sha256:", hex.EncodedLen(sha256.Size)), Cure: cure}
	default:
		if digest = [sha256.Size]byte(n); digest == sha256.Sum256(nil) {
			return digest, &configs.Problem{Message: "is the digest of nothing", Cure: cure}
		}
		return digest, nil
	}
}
