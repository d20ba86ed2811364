package cli

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/web"
)

// hashPassword runs the command with an input. questions may be nil.
func hashPassword(t *testing.T, in io.Reader, questions io.Writer, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	p := bare(t).withDefaults()
	a := &app{program: p, schema: schema(p), stdout: &out, stderr: questions}
	root := a.command()
	root.SetArgs(append([]string{"hash-password"}, args...))
	root.SetIn(in)
	err = root.Execute()
	return out.String(), err
}

// letsIn tells whether a user with that hash gets in with a password.
func letsIn(t *testing.T, hash, password string) bool {
	t.Helper()
	g, err := access.New(access.Options{Users: map[string]string{"anna": hash}})
	if err != nil {
		t.Fatal(err)
	}
	r := &web.Request{}
	r.Header.Add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("anna:"+password)))
	return g.Judge(r) == access.Granted
}

func TestHashPasswordFromAPipe(t *testing.T) {
	long := strings.Repeat("x", access.MaxPassword)
	for _, c := range []struct {
		in, password string
		args         []string
		prefix       string
	}{
		{"sésame\n", "sésame", nil, "$argon2id$v=19$m=19456,t=3,p=1$"},
		{" with spaces ", " with spaces ", nil, "$argon2id$"},
		{"of Windows\r\n", "of Windows", nil, "$argon2id$"},
		{long + "\r\n", long, nil, "$argon2id$"},
		{"sésame\n", "sésame", []string{"--bcrypt"}, "$2a$10$"},
	} {
		stdout, err := hashPassword(t, strings.NewReader(c.in), io.Discard, c.args...)
		hash, ended := strings.CutSuffix(stdout, "\n")
		if err != nil || !ended || !strings.HasPrefix(hash, c.prefix) || strings.Contains(hash, "\n") {
			t.Errorf("%.20q: %q, %v", c.in, stdout, err)
			continue
		}
		if !letsIn(t, hash, c.password) || letsIn(t, hash, c.password[1:]) {
			t.Errorf("%.20q: the hash is another's: %s", c.in, hash)
		}
	}
}

func TestHashPasswordRefuses(t *testing.T) {
	for _, c := range []struct {
		in   string
		args []string
		want string
	}{
		{"", nil, "the password is empty"},
		{"\n", nil, "the password is empty"},
		{"one\ntwo\n", nil, "more than one line"},
		{"one\n\n", nil, "more than one line"},
		{"a\tb\n", nil, "control character"},
		{"\xff\n", nil, "no UTF-8"},
		{strings.Repeat("x", access.MaxPassword+1), nil, "more than 512 bytes"},
		{strings.Repeat("x", 100000), nil, "more than 512 bytes"},
		{strings.Repeat("x", 73), []string{"--bcrypt"}, "take argon2id"},
		{"one\n", []string{"password"}, "takes no argument"},
	} {
		stdout, err := hashPassword(t, strings.NewReader(c.in), io.Discard, c.args...)
		if stdout != "" || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %q, %v; want %q", c.in, stdout, err, c.want)
		}
	}
}

// terminal opens both ends of one: what a person sees and types, and what a program has (pty(7)).
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	person = os.NewFile(uintptr(fd), "the person's end")
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	other, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	program = os.NewFile(other, "the program's end")
	t.Cleanup(func() { program.Close() })
	return person, program
}

// until reads what the terminal shows, up to text.
func until(t *testing.T, person *os.File, text string) (shown string) {
	t.Helper()
	for b := make([]byte, 1); !strings.HasSuffix(shown, text); shown += string(b) {
		if _, err := person.Read(b); err != nil {
			t.Fatalf("%q, and then: %v", shown, err)
		}
	}
	return shown
}

// At a terminal the password is asked for twice and never shown, and the echo is there again afterwards.
func TestHashPasswordAtATerminal(t *testing.T) {
	for _, c := range []struct {
		first, second string
		want          string // of the error
	}{
		{"sésame\n", "sésame\n", ""},
		{"sesame\n", "Sesame\n", "the two differ"},
		{"\x04", "", "no password was read"}, // ^D
		{"sesame\n", "\x04", "no password was read"},
		{"\n", "\n", "the password is empty"},
		{"", "", "no password was read: interrupt"}, // ^C at the program's controlling terminal, which this one is not
	} {
		person, program := terminal(t)
		before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil || before.Lflag&unix.ECHO == 0 {
			t.Fatal(err, "or no echo")
		}
		type outcome struct {
			stdout string
			err    error
		}
		done := make(chan outcome, 1)
		go func() {
			stdout, err := hashPassword(t, program, program)
			done <- outcome{stdout, err}
		}()
		shown := until(t, person, "Password: ")
		fmt.Fprint(person, c.first)
		if c.first == "" {
			if err := unix.Kill(os.Getpid(), unix.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if c.second != "" {
			shown += until(t, person, "The same again: ")
			fmt.Fprint(person, c.second)
		}
		got := <-done
		fmt.Fprint(program, "END")
		shown += until(t, person, "END")
		if strings.Contains(strings.ToLower(shown), "same\r") || strings.Contains(shown, "sésame") || strings.Contains(shown, "Sesame") {
			t.Errorf("the password is shown: %q", shown)
		}
		if after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || *after != *before {
			t.Errorf("%q: the terminal is another: %+v, %v", c.first, after, err)
		}
		switch {
		case c.want != "":
			if got.err == nil || !strings.Contains(got.err.Error(), c.want) || got.stdout != "" {
				t.Errorf("%q, %q: %+v", c.first, c.second, got)
			}
		case got.err != nil || !letsIn(t, strings.TrimSpace(got.stdout), "sésame"):
			t.Errorf("%+v; shown: %q", got, shown)
		}
	}
}

func TestNewToken(t *testing.T) {
	status, stdout, stderr, _ := call(t, bare(t), "new-token")
	token, item, ok := strings.Cut(strings.TrimSuffix(stdout, "\n"), "\n")
	if status != exitOK || stderr != "" || !ok || !strings.HasPrefix(item, "sha256:") || strings.Contains(item, "\n") {
		t.Fatalf("%d, %q, %q", status, stdout, stderr)
	}
	g, err := access.New(access.Options{Tokens: []string{item}})
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]access.Answer{token: access.Granted, item: access.Unauthorized} {
		r := &web.Request{}
		r.Header.Add("Authorization", "Bearer "+value)
		if got := g.JudgeNow(r); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
	if _, again, _, _ := call(t, bare(t), "new-token"); again == stdout {
		t.Error("the same token twice")
	}
}
