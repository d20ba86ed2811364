package access

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func usersFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsersFile(t *testing.T) {
	path := usersFile(t, "\ufeff# who may\n\nanna:"+hashOfSecret+"\r\n  \nbob b:"+hashOfOther+" \t\n#carl:"+hashOfOther+"\ndora:"+hashOfOther)
	g := guard(t, newProofs(), Options{UsersFile: path, Users: map[string]string{"emil": hashOfOther}})
	for credentials, want := range map[string]Answer{
		"anna:secret": Granted, "bob b:other": Granted, "dora:other": Granted, "emil:other": Granted,
		"#carl:other": Unauthorized, "carl:other": Unauthorized, "bob:other": Unauthorized,
	} {
		if got := g.Judge(request("192.0.2.1", basic(credentials))); got != want {
			t.Errorf("%s: %v", credentials, got)
		}
	}
}

func TestUsersFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"anna:" + hashOfSecret + "\n\nbob\n":                             ":3: there is no colon in the line; write NAME:HASH",
		"anna:password\n":                                                `:1: the hash of "anna" is neither bcrypt nor argon2id`,
		"# x\nanna:" + hashOfSecret + ":more":                            `:2: the hash of "anna" is a damaged bcrypt`,
		":" + hashOfSecret:                                               ":1: a name is empty",
		" anna:" + hashOfSecret:                                          `:1: the name " anna" has white space around it; write "anna"`,
		"an\x01na:" + hashOfSecret:                                       ":1: the name \"an\\x01na\" has a control character",
		"\xff:" + hashOfSecret:                                           ":1: the name \"\\xff\" is no UTF-8",
		strings.Repeat("x", 256) + ":" + hashOfSecret:                    "has 256 bytes; shorten it to 255",
		"x:" + strings.Repeat("x", maxUsersLine):                         ":1: the line has 514 bytes",
		"a:" + hashOfOther + "\nb:" + hashOfOther + "\na:" + hashOfOther: `:3: "a" is there already in line 1; keep one of them`,
		"emil:" + hashOfOther:                                            `:1: "emil" is in users too`,
		strings.Repeat("#\n", maxUsersFile/2) + "#":                      "has more than 1024 KiB",
	} {
		path := usersFile(t, text)
		_, err := New(Options{UsersFile: path, Users: map[string]string{"emil": hashOfOther}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "users_file "+path) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "password") && strings.Contains(text, ":password") && !strings.Contains(err.Error(), "a password is never") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

// What is no regular file is refused, and a fifo without a writer stops nobody.
func TestUsersFileIsAFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(usersFile(t, "anna:"+hashOfSecret), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                         "is no regular file (p",
		dir:                          "is no regular file (d",
		"/dev/null":                  "is no regular file (D",
		filepath.Join(dir, "none"):   "no such file or directory; make it with `htpasswd -cB FILE NAME`",
		filepath.Join(link, "below"): "not a directory",
	} {
		if _, err := New(Options{UsersFile: path}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := New(Options{UsersFile: link}); err != nil {
		t.Error(err)
	}
}

// What is taken from a file has a right name and a right hash, and a line that is not is named.
func FuzzUsersFile(f *testing.F) {
	f.Add([]byte("\ufeffanna:" + hashOfSecret + "\r\n# x\n\nbob:" + hashOfOther))
	f.Add([]byte("anna"))
	f.Add([]byte(":\n:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		found := make(map[string]string)
		if err := parseUsers("F", text, found); err != nil {
			if !strings.HasPrefix(err.Error(), "users_file F:") {
				t.Fatal(err)
			}
			return
		}
		for name, hash := range found {
			if message, _ := badName(name); message != "" {
				t.Fatal(message)
			}
			if _, p := parseHash(hash); p != nil {
				t.Fatal(p)
			}
		}
		newAccounts(found)
	})
}
