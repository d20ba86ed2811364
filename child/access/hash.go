package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/tined/tined/configs"
)

// Bounds of hashes: what one of them may cost the process that checks a password by it. The dearest of either kind takes about a second.
const (
	minCost, maxCost = 4, 14 // bcrypt: 2^cost rounds
	bcryptLength     = 60    // of the text
	bcryptPassword   = 72    // bytes; bcrypt does not see what follows

	maxMemory            = 256 << 10 // argon2id m, in KiB
	maxWork              = 1 << 20   // argon2id m times t, in KiB
	maxPasses            = 32        // argon2id t
	maxLanes             = 16        // argon2id p; each needs 8 KiB (RFC 9106, 3.1)
	minSalt, maxSalt     = 8, 64     // bytes
	minDigest, maxDigest = 16, 64    // bytes

	// maxHash bounds the text of a hash, in bytes; the longest argon2id has some 210.
	maxHash = 256
)

// What HashArgon2id and HashBcrypt make. The first takes the three passes of RFC 9106's second recommended option (section 4), with one
// lane and 19 MiB in place of four and 64: a child has one core, and there may be a child per core.
const (
	newMemory = 19 << 10 // KiB
	newPasses = 3
	newLanes  = 1
	newSalt   = 16 // bytes
	newDigest = 32 // bytes
	newCost   = 10
)

// hash is a password's, ready to be compared with.
type hash struct {
	id     [sha256.Size]byte // of the text
	bcrypt []byte            // the text; nil: argon2id

	memory, passes uint32
	lanes          uint8
	salt, digest   []byte
}

// matches hashes the password, which takes long, and compares in constant time.
func (h *hash) matches(password []byte) bool {
	if h.bcrypt == nil {
		digest := argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, uint32(len(h.digest)))
		return subtle.ConstantTimeCompare(digest, h.digest) == 1
	}
	// One that is too long is hashed too, cut: the time tells nothing.
	err := bcrypt.CompareHashAndPassword(h.bcrypt, password[:min(len(password), bcryptPassword)])
	return err == nil && len(password) <= bcryptPassword
}

// makeOne is the cure for hashes that are not taken.
const makeOne = "make one with `tined hash-password` or `htpasswd -nB NAME`"

// parseHash reads a hash. The problem's message completes "the hash of … …", and holds nothing of the hash: it may be a password.
func parseHash(text string) (*hash, *configs.Problem) {
	refuse := func(message string) (*hash, *configs.Problem) {
		return nil, &configs.Problem{Message: message, Cure: makeOne}
	}
	has := func(prefix string) bool { return strings.HasPrefix(text, prefix) }
	switch {
	case text == "":
		return refuse("is empty")
	case len(text) > maxHash:
		return refuse(fmt.Sprintf("has %d bytes, and none that is taken has more than %d", len(text), maxHash))
	case has("$2a$"), has("$2b$"), has("$2y$"):
		return parseBcrypt(text)
	case has("$argon2id$"):
		return parseArgon2id(text)
	case has("$2$"), has("$2x$"):
		return refuse("is of a bcrypt that has known mistakes; $2a$, $2b$ and $2y$ are taken")
	case has("$argon2"):
		return refuse("is of another argon2 than argon2id")
	case has("$apr1$"), has("$1$"):
		return refuse("is one of MD5, which guesses find too fast")
	case has("{SHA}"), has("{SSHA}"):
		return refuse("is one round of SHA-1, which guesses find too fast")
	case has("$5$"), has("$6$"), has("$y$"), has("$gy$"), has("$7$"), has("$sha1$"), has("$scrypt$"), has("$pbkdf2"), has("{PBKDF2"):
		return refuse("is of a kind that is not taken; bcrypt and argon2id are")
	case len(text) == 13 && cryptAlphabet(text):
		return refuse("is crypt's by DES or a plain text, and neither is taken")
	}
	if raw, err := hex.DecodeString(text); err == nil && len(raw) >= 16 {
		return refuse("is a bare digest, which guesses find too fast")
	}
	return refuse("is neither bcrypt nor argon2id; a password is never written as it is")
}

func cryptAlphabet(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '/':
		default:
			return false
		}
	}
	return true
}

// parseBcrypt reads $2y$CC$ and 22 characters of salt and 31 of digest, in an alphabet of bcrypt's own.
func parseBcrypt(text string) (*hash, *configs.Problem) {
	damaged := &configs.Problem{Message: "is a damaged bcrypt: it has 60 characters as it is made", Cure: "copy it again, whole; or " + makeOne}
	if len(text) != bcryptLength || text[6] != '$' || !cryptAlphabet(text[7:]) {
		return nil, damaged
	}
	cost, err := strconv.ParseUint(text[4:6], 10, 8)
	if err != nil {
		return nil, damaged
	}
	// 31 characters hold two bits more than 23 bytes. They are zero, or nothing would ever match.
	if strings.IndexByte("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", text[bcryptLength-1])%4 != 0 {
		return nil, damaged
	}
	if cost < minCost || cost > maxCost {
		return nil, &configs.Problem{
			Message: fmt.Sprintf("has the bcrypt cost %d, and %d to %d are taken", cost, minCost, maxCost),
			Cure:    fmt.Sprintf("one more doubles the time of a login; %s (whose cost is %d)", "make it with `tined hash-password --bcrypt`", newCost),
		}
	}
	return &hash{id: sha256.Sum256([]byte(text)), bcrypt: []byte(text)}, nil
}

// parseArgon2id reads a PHC string as the reference implementation writes it: $argon2id$v=19$m=M,t=T,p=P$SALT$DIGEST, in base64 without
// padding. There is no secret and no associated data.
func parseArgon2id(text string) (*hash, *configs.Problem) {
	bad := func(format string, args ...any) (*hash, *configs.Problem) {
		return nil, &configs.Problem{Message: fmt.Sprintf(format, args...), Cure: "make one with `tined hash-password`"}
	}
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return bad("is a damaged argon2id: it is $argon2id$v=19$m=…,t=…,p=…$SALT$DIGEST")
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad("is of another version of argon2id than v=%d", argon2.Version)
	}
	var numbers [3]uint32
	for i, name := range []string{"m=", "t=", "p="} {
		part, rest, _ := strings.Cut(parts[3], ",")
		digits, ok := strings.CutPrefix(part, name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != digits || i == 2 && len(part) != len(parts[3]) {
			return bad("is a damaged argon2id: its parameters are m=…,t=…,p=…")
		}
		numbers[i], parts[3] = uint32(n), rest
	}
	memory, passes, lanes := numbers[0], numbers[1], numbers[2]
	switch {
	case lanes < 1 || lanes > maxLanes:
		return bad("has p=%d, and 1 to %d lanes are taken", lanes, maxLanes)
	case memory < 8*lanes || memory > maxMemory:
		return bad("has m=%d, and %d (8 a lane) to %d KiB of memory are taken", memory, 8*lanes, maxMemory)
	case passes < 1 || passes > maxPasses:
		return bad("has t=%d, and 1 to %d passes are taken", passes, maxPasses)
	case uint64(memory)*uint64(passes) > maxWork:
		return bad("has m=%d and t=%d: a login would take seconds; m times t may be %d", memory, passes, maxWork)
	}
	phc := base64.RawStdEncoding.Strict()
	salt, err := phc.DecodeString(parts[4])
	if err != nil || strings.ContainsAny(parts[4], "\r\n") || len(salt) < minSalt || len(salt) > maxSalt {
		return bad("needs a salt of %d to %d bytes, in base64 without padding", minSalt, maxSalt)
	}
	digest, err := phc.DecodeString(parts[5])
	if err != nil || strings.ContainsAny(parts[5], "\r\n") || len(digest) < minDigest || len(digest) > maxDigest {
		return bad("needs a digest of %d to %d bytes, in base64 without padding", minDigest, maxDigest)
	}
	return &hash{id: sha256.Sum256([]byte(text)), memory: memory, passes: passes, lanes: uint8(lanes), salt: salt, digest: digest}, nil
}

// HashArgon2id makes a hash of a password with argon2id: 19 MiB, three passes, one lane (RFC 9106). It takes some 50 ms. The error says
// what is wrong with the password.
func HashArgon2id(password string) (string, error) {
	if err := badPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, newSalt)
	rand.Read(salt) // it never fails
	digest := argon2.IDKey([]byte(password), salt, newPasses, newMemory, newLanes, newDigest)
	phc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, newMemory, newPasses, newLanes, phc.EncodeToString(salt), phc.EncodeToString(digest)), nil
}

// HashBcrypt makes one with bcrypt of cost 10, which is for passwords of at most 72 bytes, and as $2a$ known to about every program that
// knows bcrypt.
func HashBcrypt(password string) (string, error) {
	if err := badPassword(password); err != nil {
		return "", err
	}
	if len(password) > bcryptPassword {
		return "", fmt.Errorf("the password has %d bytes, and bcrypt sees the first %d only; take argon2id", len(password), bcryptPassword)
	}
	text, err := bcrypt.GenerateFromPassword([]byte(password), newCost)
	return string(text), err
}

// badPassword refuses passwords that no client could log in with.
func badPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > MaxPassword:
		return fmt.Errorf("the password has more than %d bytes", MaxPassword)
	case !utf8.ValidString(password):
		return errors.New("the password is no UTF-8, which browsers send; set the terminal to UTF-8")
	case hasControls(password):
		return errors.New("the password has a control character, which Basic authentication cannot carry (RFC 7617, 2)")
	}
	return nil
}

// NewToken makes a random bearer token of 256 bits, and the item of tokens that lets it in.
func NewToken() (token, item string) {
	var random [32]byte
	rand.Read(random[:]) // it never fails
	token = base64.RawURLEncoding.EncodeToString(random[:])
	digest := sha256.Sum256([]byte(token))
	return token, tokenPrefix + hex.EncodeToString(digest[:])
}
