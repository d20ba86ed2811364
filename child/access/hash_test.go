package access

import (
	"strings"
	"testing"
)

// What others have made: OpenBSD's and Openwall's bcrypt, and the reference implementation of Argon2.
func TestHashesOfOthers(t *testing.T) {
	for _, c := range []struct{ text, password string }{
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"},
		{"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
		{"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
		{hashOfSecret, "secret"},
		{hashOfOther, "other"},
	} {
		h, p := parseHash(c.text)
		if p != nil {
			t.Errorf("%s: %v", c.text, p)
			continue
		}
		if !h.matches([]byte(c.password)) || h.matches([]byte(c.password+"x")) || h.matches(nil) {
			t.Errorf("%s is not that of %q, or of more", c.text, c.password)
		}
	}
}

func TestParseHash(t *testing.T) {
	const salt, digest = "c29tZXNhbHQ", "IkNNYB8bGtvzcmOzJAtXJA"
	argon := func(parameters string) string { return "$argon2id$v=19$" + parameters + "$" + salt + "$" + digest }
	b64 := func(n int) string { return strings.TrimRight(basic(strings.Repeat("x", n))[len("Basic "):], "=") }
	for _, c := range []struct {
		text string
		want string // in the message; "": it is taken
	}{
		{hashOfSecret, ""},
		{"$2y$14$" + hashOfSecret[7:], ""},
		{"$2y$15$" + hashOfSecret[7:], "has the bcrypt cost 15, and 4 to 14 are taken"},
		{"$2y$03$" + hashOfSecret[7:], "has the bcrypt cost 3"},
		{"$2y$31$" + hashOfSecret[7:], "has the bcrypt cost 31"},
		{"$2y$+4$" + hashOfSecret[7:], "damaged bcrypt"},
		{"$2y$04/" + hashOfSecret[7:], "damaged bcrypt"},
		{hashOfSecret[:59], "damaged bcrypt"},
		{hashOfSecret + ".", "damaged bcrypt"},
		{hashOfSecret[:59] + "L", "damaged bcrypt"}, // bits behind the last byte
		{hashOfSecret[:30] + "!" + hashOfSecret[31:], "damaged bcrypt"},
		{"$2a$", "damaged bcrypt"},
		{"$2x$04$" + hashOfSecret[7:], "known mistakes"},
		{"$2$04$" + hashOfSecret[7:], "known mistakes"},

		{hashOfOther, ""},
		{argon("m=262144,t=4,p=16"), ""},
		{argon("m=32768,t=32,p=1"), ""},
		{argon("m=262145,t=1,p=1"), "has m=262145"},
		{argon("m=262144,t=5,p=1"), "would take seconds"},
		{argon("m=8,t=33,p=1"), "has t=33"},
		{argon("m=8,t=0,p=1"), "has t=0"},
		{argon("m=7,t=1,p=1"), "has m=7"},
		{argon("m=15,t=1,p=2"), "has m=15, and 16 (8 a lane)"},
		{argon("m=8,t=1,p=0"), "has p=0"},
		{argon("m=65536,t=1,p=17"), "has p=17"},
		{argon("m=4294967295,t=4294967295,p=1"), "has m=4294967295"},
		{argon("m=4294967296,t=1,p=1"), "its parameters"},
		{argon("m=08,t=1,p=1"), "its parameters"},
		{argon("t=1,m=8,p=1"), "its parameters"},
		{argon("m=8,t=1,p=1,keyid=x"), "its parameters"},
		{argon("m=8,t=1,p=1,"), "its parameters"},
		{argon("m=8,t=1"), "its parameters"},
		{argon("m=-8,t=1,p=1"), "its parameters"},
		{"$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + digest, "another version"},
		{"$argon2id$m=8,t=1,p=1$" + salt + "$" + digest, "damaged argon2id"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt, "damaged argon2id"},
		{hashOfOther + "$", "damaged argon2id"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + b64(7) + "$" + digest, "a salt of 8 to 64 bytes"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + b64(64) + "$" + digest, ""},
		{"$argon2id$v=19$m=8,t=1,p=1$" + b64(65) + "$" + digest, "a salt of 8 to 64 bytes"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "=$" + digest, "a salt"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "\n$" + digest, "a salt"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + b64(15), "a digest of 16 to 64 bytes"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + b64(64), ""},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + b64(65), "a digest of 16 to 64 bytes"},
		{"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + digest[:21] + "B", "a digest"}, // bits behind the last byte
		{"$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + digest, "another argon2"},
		{"$argon2d$v=19$m=8,t=1,p=1$" + salt + "$" + digest, "another argon2"},

		{"", "is empty"},
		{"$apr1$lFOYPTwI$6Zv2Vd0sYw5kqcFzmxVJX1", "MD5"},
		{"$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "MD5"},
		{"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"},
		{"{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"},
		{"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1", "a kind that is not taken"},
		{"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8", "a kind that is not taken"},
		{"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "a kind that is not taken"},
		{"rqXexS6ZhobKA", "DES"},
		{"5f4dcc3b5aa765d61d8327deb882cf99", "bare digest"},
		{"password", "never written as it is"},
		{"{PLAIN}password", "never written as it is"},
		{strings.Repeat("x", 257), "has 257 bytes"},
	} {
		h, p := parseHash(c.text)
		switch {
		case c.want == "" && (p != nil || h == nil):
			t.Errorf("%s: %v", c.text, p)
		case c.want != "" && (h != nil || p == nil || !strings.Contains(p.Message, c.want)):
			t.Errorf("%s: %v, want %q", c.text, p, c.want)
		case p != nil && !strings.Contains(p.Cure, "tined hash-password"):
			t.Errorf("%s: no cure in %q", c.text, p.Cure)
		case p != nil && len(c.text) > 8 && strings.Contains(p.Error(), c.text):
			t.Errorf("the problem tells the hash: %v", p)
		}
	}
}

// bcrypt sees 72 bytes: what is longer matches nothing, not even what it begins with.
func TestLongPasswords(t *testing.T) {
	long := strings.Repeat("x", bcryptPassword)
	text, err := HashBcrypt(long)
	if err != nil {
		t.Fatal(err)
	}
	h, p := parseHash(text)
	if p != nil {
		t.Fatal(p)
	}
	if !h.matches([]byte(long)) || h.matches([]byte(long+"x")) || h.matches([]byte(long+strings.Repeat("y", MaxPassword))) {
		t.Error("a password is not told from what it begins with")
	}
	if _, err := HashBcrypt(long + "x"); err == nil || !strings.Contains(err.Error(), "argon2id") {
		t.Errorf("hashed: %v", err)
	}
}

func TestMakeHashes(t *testing.T) {
	for name, hash := range map[string]func(string) (string, error){"argon2id": HashArgon2id, "bcrypt": HashBcrypt} {
		text, err := hash("pässword")
		if err != nil {
			t.Fatal(err)
		}
		h, p := parseHash(text)
		if p != nil || !h.matches([]byte("pässword")) || h.matches([]byte("password")) {
			t.Errorf("%s: %s: %v", name, text, p)
		}
		if again, _ := hash("pässword"); again == text {
			t.Errorf("%s: the salt is not random", name)
		}
		for _, bad := range []string{"", "a\nb", "a\x00", "a\u0085", "a\x7f", "\xff", strings.Repeat("x", MaxPassword+1)} {
			if _, err := hash(bad); err == nil {
				t.Errorf("%s: %q is hashed", name, bad)
			}
		}
	}
	text, _ := HashArgon2id("x")
	if !strings.HasPrefix(text, "$argon2id$v=19$m=19456,t=3,p=1$") {
		t.Error(text)
	}
}

func TestNewToken(t *testing.T) {
	token, item := NewToken()
	other, _ := NewToken()
	if len(token) != 43 || token == other || !isToken68(token) {
		t.Errorf("%q, %q", token, other)
	}
	g := guard(t, newProofs(), Options{Tokens: []string{item}})
	if got := g.JudgeNow(request("192.0.2.1", "Bearer "+token)); got != Granted {
		t.Error(got)
	}
}

// What is taken can be compared with, and costs no more than the bounds say.
func FuzzParseHash(f *testing.F) {
	f.Add(hashOfSecret)
	f.Add(hashOfOther)
	f.Add("$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc")
	f.Add("$2y$14$")
	f.Add("{SHA}")
	f.Fuzz(func(t *testing.T, text string) {
		h, p := parseHash(text)
		if (h == nil) == (p == nil) {
			t.Fatal("neither or both")
		}
		if p != nil {
			if p.Message == "" || p.Cure == "" {
				t.Fatalf("%+v", p)
			}
			return
		}
		if h.bcrypt != nil {
			if text[4:6] <= "05" {
				h.matches([]byte("x"))
			}
			return
		}
		if h.memory > maxMemory || uint64(h.memory)*uint64(h.passes) > maxWork || h.lanes == 0 || h.lanes > maxLanes || len(h.digest) < minDigest {
			t.Fatalf("%+v", h)
		}
		if h.memory*h.passes <= 1024 {
			h.matches([]byte("x"))
		}
	})
}
