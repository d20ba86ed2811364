package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/access"
)

func (a *app) hashPasswordCommand() *cobra.Command {
	byBcrypt := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "hash-password",
		Short: "Hash a password for a configuration",
		Long: fmt.Sprintf(`Hash-password prints the hash of a password, for the attribute users and for a file of users. On
a terminal it asks for the password twice and does not show it; else it reads one line from
the standard input. The password never stands in the command line, which others can see.

The hash is argon2id with 19 MiB of memory, three passes and one lane: the passes of RFC
9106's second recommended option, its memory and lanes scaled to a login that takes some 50
ms of one core. With --bcrypt it is bcrypt with cost 10, which other programs know as well, for
passwords of at most 72 bytes. Each run prints another hash, since its salt is random.

A password has at most %d bytes, is UTF-8 and has no control characters.`, access.MaxPassword),
		Example: fmt.Sprintf(`  %[1]s hash-password
  printf 'anna:%%s\n' "$(%[1]s hash-password)" >> users
  %[1]s hash-password --bcrypt < password`, name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := a.readPassword(cmd.InOrStdin())
			if err != nil {
				return err
			}
			hash := access.HashArgon2id
			if byBcrypt {
				hash = access.HashBcrypt
			}
			text, err := hash(password)
			if err != nil {
				return err
			}
			return a.printf("%s\n", text)
		},
	}
	cmd.Flags().BoolVar(&byBcrypt, "bcrypt", false, "make a bcrypt hash instead of an argon2id one")
	return cmd
}

func (a *app) newTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new-token",
		Short: "Make a bearer token and its line for a configuration",
		Long: `New-token prints two lines: a random token of 256 bits, and what the attribute tokens holds of
it, its SHA-256. The token is for the client, which sends it in the field "Authorization:
Bearer TOKEN"; it is kept nowhere, so a lost one is replaced. The second line is for the
configuration, and nobody can log in by it.`,
		Example:           fmt.Sprintf("  %[1]s new-token\n  %[1]s new-token | { read -r token; read -r item; echo \"tokens = [\\\"$item\\\"]\"; }", a.program.Name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			token, item := access.NewToken()
			return a.printf("%s\n%s\n", token, item)
		},
	}
}

// readPassword asks at a terminal, twice, and reads one line from anything else.
func (a *app) readPassword(in io.Reader) (string, error) {
	if f, ok := in.(*os.File); ok {
		if before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return a.askPassword(f, before)
		}
	}
	// One byte more than a password and a line's end can have.
	text, err := io.ReadAll(io.LimitReader(in, access.MaxPassword+3))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	if rest != "" {
		return "", errors.New("there is more than one line on the standard input; a password is one line")
	}
	return strings.TrimSuffix(line, "\r"), nil
}

// askPassword asks twice at a terminal whose settings were before. They are so again when it returns, whatever ends it: a shell would be
// left blind. A signal of the keyboard ends the asking.
func (a *app) askPassword(f *os.File, before *unix.Termios) (string, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	blind := *before
	blind.Lflag = blind.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG | unix.ECHONL
	blind.Iflag |= unix.ICRNL
	// What was typed before the question was shown by then, and is dropped: getpass(3) does so.
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETSF, &blind); err != nil {
		return "", fmt.Errorf("switch the terminal's echo off: %w", os.NewSyscallError("ioctl TCSETSF", err))
	}
	defer func() { _ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before) }() // a terminal that has gone shows nothing

	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 2) // the reader cannot be stopped: it ends with the process
	go func() {
		in := bufio.NewReader(f)
		for range 2 {
			text, err := in.ReadString('\n')
			lines <- line{strings.TrimSuffix(text, "\n"), err}
			if err != nil {
				return
			}
		}
	}()
	ask := func(question string) (string, error) {
		fmt.Fprint(a.stderr, question)
		select {
		case l := <-lines:
			if errors.Is(l.err, io.EOF) {
				return "", errors.New("the terminal's input has ended; no password was read")
			}
			if l.err != nil {
				return "", fmt.Errorf("read the password: %w", l.err)
			}
			return l.text, nil
		case s := <-signals:
			fmt.Fprintln(a.stderr)
			return "", fmt.Errorf("no password was read: %s", s)
		}
	}
	password, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("The same again: ")
	if err != nil {
		return "", err
	}
	if password != again {
		return "", errors.New("the two differ; nothing was made of them")
	}
	return password, nil
}
