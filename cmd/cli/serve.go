package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/master"
)

// `serve` is one process, in which master and child are goroutines. The people who want a folder served at once have a command of a terminal
// in mind: ^C, `kill` and the end of the terminal mean the one pid that they see, and what is killed, by whatever, is gone with its port,
// while children of their own would serve on without a master for a minute and keep it. It also is there in half the time (7 ms, not 15), in
// the memory of one process whatever the machine. What is given up is little: the other cores, while the kernel sends the files, and the
// successor of a child that crashes; a handler that panics ends its request alone, here as there.

const (
	// serveAddress is where a folder is served when nobody says where: every address of the machine, at the port that people try.
	serveAddress = ":8000"
	// serveName is that of the listener and the site.
	serveName = "serve"
	// noticeAfter is how long after ^C it is explained why the process still is there.
	noticeAfter = 300 * time.Millisecond
	// mostURLs bounds the lines of a machine that has addresses in plenty, as hosts of containers do.
	mostURLs = 16
)

func (a *app) serveCommand() *cobra.Command {
	address := serveAddress
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Serve a folder at once, without a configuration",
		Long: fmt.Sprintf(`Serve serves the files below DIR, by default the current folder, and lists the folders that have no
index.html. It prints a line for every URL by which they can be opened, and who can reach it, and
then a line for every request. Names that begin with a dot, and links out of DIR, are not served.

ADDRESS is what a listen block takes: "8080" or ":8080" for all addresses of the machine,
"127.0.0.1:8080" for this machine alone, "[::1]:8080", port 0 for any that is free, "unix:PATH".

^C (SIGINT), SIGTERM and the end of the terminal (SIGHUP) finish what is in flight; the second
signal ends that at once. It is a single process that needs no file and leaves none behind, so any
number of them can run beside each other and beside a server. Commands reach it if --control gives
it a socket: a reload opens DIR anew; an upgrade is refused.

To go on with a configuration: %s init --static DIR.`, name),
		Example: fmt.Sprintf(`  %[1]s serve
  %[1]s serve ./public --listen 8080
  %[1]s serve /srv/www --listen 127.0.0.1:0`, name),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return failure(exitUsage, "serve takes one DIR, and was given %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: onlyFirst(completeFolders),
		RunE: func(_ *cobra.Command, args []string) error {
			if a.config != "" {
				return failure(exitUsage, "serve takes no configuration: `%s run -c %s` serves one", name, a.config)
			}
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return a.serveFolder(dir, address)
		},
	}
	cmd.Flags().StringVarP(&address, "listen", "l", serveAddress, "`ADDRESS` to listen on, or a port")
	noFlagCompletion(cmd, "listen")
	return cmd
}

// completeFolders completes the name of a folder.
func completeFolders(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func (a *app) serveFolder(dir, address string) error {
	at, err := listenAddress(address)
	if err != nil {
		return err
	}
	if err := servable(dir); err != nil {
		return err
	}
	folder, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("the current folder is not known: %w", err)
	}
	sources := folderSources(folder, at)
	config, diagnostics := configs.Resolve(sources, a.schema)
	if diagnostics.HasErrors() {
		return diagnostics.Err()
	}
	if listens := config.Listeners[0].Address; listens != at {
		return unwritable(at.Path)
	}
	if err := addressFree(config, at); err != nil {
		return err
	}
	control, remove := a.control, func() {}
	if control == "" {
		if control, remove, err = privateControl(a.program.Name); err != nil {
			return err
		}
	}
	defer remove()
	ended := make(chan struct{})
	defer close(ended)
	a.explainWait(ended)

	p := a.program
	p.Hooks, p.Shared = Hooks{}, nil // what the program prepares for its own routes
	return exit(a.master(master.Options{
		Name:    p.Name,
		Version: p.Version,
		Sources: func() (*configs.Sources, configs.Diagnostics) { return sources, nil },
		Schema:  a.schema,
		Control: control,
		Host:    p.host(),
		Announce: func(addresses []configs.Address) string {
			remove() // a private socket has served its purpose, and nothing is left when this process is killed
			return announcement(p, folder, addresses)
		},
		Foreground: true,
		Stdout:     a.stdout,
		Stderr:     a.stderr,
	}))
}

// listenAddress reads what --listen says. A relative path of a unix socket is against the current folder.
func listenAddress(s string) (configs.Address, error) {
	at, err := configs.ParseAddress(withColon(s))
	if err != nil {
		return at, failure(exitUsage, "--listen: %w", err)
	}
	if at.Network == "unix" {
		if at.Path, err = filepath.Abs(at.Path); err != nil {
			return at, fmt.Errorf("the current folder is not known: %w", err)
		}
		if _, err = configs.ParseAddress(at.String()); err != nil { // it is longer now
			return at, failure(exitUsage, "--listen: %w", err)
		}
	}
	return at, nil
}

// withColon makes an address of a bare port: all addresses.
func withColon(s string) string {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return ":" + s
	}
	return s
}

// servable says why the files of a folder cannot be served; nil: they can.
func servable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, problem := listenAddress(dir); problem == nil {
			return fmt.Errorf("there is no folder %[1]s; if it is where to listen, write --listen %[1]s", shown(dir))
		}
		return fmt.Errorf("there is no folder %s; make it, or name another", shown(dir))
	case err != nil:
		return fmt.Errorf("the folder %s cannot be served: %w", shown(dir), cause(err))
	case !info.IsDir():
		return fmt.Errorf("%s is no folder; name the one that it is in: %s", shown(dir), shown(filepath.Dir(dir)))
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("the folder %s cannot be served: %w; the user of this process may not search it", shown(dir), err)
	}
	return nil
}

// cause is an error of the file system without its path.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// folderSources is the configuration that serves a folder, which is absolute. Its only file lies in that folder, where nobody has written it:
// so the root is ".", and a name that a configuration cannot hold needs no escape.
func folderSources(folder string, at configs.Address) *configs.Sources {
	text := fmt.Sprintf(`drain_timeout = "24h"
log {
  level  = "warn"
  format = "human"
}
listen %[1]q {
  address = %[2]s
}
site %[1]q {
  access_log {
    format = "common"
  }
  route "/" {
    static {
      root = "."
      listing {}
    }
  }
}
`, serveName, configs.Quote(at.String()))
	return &configs.Sources{Dir: folder, Files: []configs.Source{{Name: "serve", Bytes: []byte(text)}}}
}

// addressFree says why the address cannot be had, with the cure.
func addressFree(config *configs.Config, at configs.Address) error {
	inUse := false
	err := master.ProbePorts(config, func(string) string { inUse = true; return "" })
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), fmt.Sprintf("listen %q: ", serveName))
	if inUse && at.Network == "tcp" {
		free := netip.AddrPortFrom(at.Addr.Addr(), 0).String()
		if at.DualStack {
			free = ":0"
		}
		text += fmt.Sprintf("; choose another port with --listen, such as %s for any that is free", free)
	}
	return errors.New(text)
}

// privateControl makes a folder for a control socket that nobody is to know, and says how to remove it, which may be done twice.
func privateControl(name string) (control string, remove func(), err error) {
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if base == "" {
			continue
		}
		var folder string
		if folder, err = os.MkdirTemp(base, name+"-serve-"); err != nil {
			continue
		}
		remove = sync.OnceFunc(func() { _ = os.RemoveAll(folder) }) // what cannot be removed hinders nobody
		if control, err = master.ControlPath(name, filepath.Join(folder, "control.sock"), ""); err == nil {
			return control, remove, nil
		}
		remove()
	}
	return "", nil, fmt.Errorf("there is no place for the control socket: %w; name one with --control PATH", err)
}

// explainWait tells who has pressed ^C what the process waits for, if it does.
func (a *app) explainWait(ended <-chan struct{}) {
	if signal.Ignored(syscall.SIGINT) { // the master leaves it so
		return
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT)
	go func() {
		defer signal.Stop(interrupted)
		select {
		case <-interrupted:
		case <-ended:
			return
		}
		select {
		case <-time.After(noticeAfter):
			fmt.Fprintf(a.stderr, "%s: finishing what is in flight; ^C again ends it at once\n", a.program.Name)
		case <-ended:
		}
	}()
}

// announcement is what is printed once a folder is served.
func announcement(p Program, folder string, addresses []configs.Address) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: serving %s; ^C ends it\n", strings.TrimSpace(p.Name+" "+p.Version), shown(folder))
	for _, at := range addresses {
		all := opens(at, machineAddresses())
		width := 0
		for _, o := range all {
			width = max(width, len(o.url))
		}
		for _, o := range all {
			fmt.Fprintf(&b, "%-*s  %s\n", width, o.url, o.who)
		}
	}
	return b.String()
}

// opening is a URL that a person can open, and for whom.
type opening struct{ url, who string }

// machineAddress is an address of an interface of this machine.
type machineAddress struct {
	ip     netip.Addr
	device string
}

// machineAddresses are those by which others may reach this machine. Without them nothing is wrong but the list.
func machineAddresses() (all []machineAddress) {
	devices, _ := net.Interfaces()
	for _, device := range devices {
		if device.Flags&net.FlagUp == 0 || device.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, _ := device.Addrs()
		for _, address := range addresses {
			if prefix, err := netip.ParsePrefix(address.String()); err == nil {
				all = append(all, machineAddress{prefix.Addr().Unmap(), device.Name})
			}
		}
	}
	return all
}

// opens lists what can be opened of a listener, on a machine that has these addresses.
func opens(at configs.Address, machine []machineAddress) []opening {
	if at.Network == "unix" {
		return []opening{{at.String(), "who may write to this socket"}}
	}
	url := func(host string) string {
		return "http://" + net.JoinHostPort(host, strconv.Itoa(int(at.Addr.Port()))) + "/"
	}
	ip := at.Addr.Addr()
	network := func(a machineAddress) opening { return opening{url(a.ip.String()), "the network of " + a.device} }
	switch {
	case ip.IsLoopback():
		return []opening{{url(ip.String()), "this machine only"}}
	case !ip.IsUnspecified():
		if i := slices.IndexFunc(machine, func(a machineAddress) bool { return a.ip == ip }); i >= 0 {
			return []opening{network(machine[i])}
		}
		return []opening{{url(ip.String()), "who can reach this address"}}
	}
	all := []opening{{url("localhost"), "this machine"}}
	left := 0
	for _, a := range machine {
		switch {
		case a.ip.Is6() && (ip.Is4() || a.ip.IsLinkLocalUnicast()): // no browser takes the zone that a link-local one needs
		case len(all) == mostURLs:
			left++
		default:
			all = append(all, network(a))
		}
	}
	if left > 0 {
		all = append(all, opening{url: fmt.Sprintf("and %d more addresses of this machine", left)})
	}
	return all
}

// shown is a path for a line of text.
func shown(path string) string {
	if utf8.ValidString(path) && strings.IndexFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && path != "" {
		return path
	}
	return strconv.Quote(path)
}
