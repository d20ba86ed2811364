package configs

import (
	"io/fs"
	"net/netip"
	"time"
)

// Config is a resolved configuration: every default filled in, every path
// absolute, every rule checked. It is immutable and safe for concurrent use.
type Config struct {
	Path string // the root file, absolute; "" when there is none

	Children int  // 0: one per usable core
	Pin      bool // pin each child to a core
	Procs    int  // GOMAXPROCS of a child

	User, Group string // "": no change
	Control     string // path of the control socket; "": the default of the command line
	Runtime     string // the runtime directory; "": the directory of the control socket

	ControlMode                fs.FileMode // of the control socket
	ControlOwner, ControlGroup string      // of the control socket; "": the master's own

	DrainTimeout  time.Duration
	OrphanTimeout time.Duration

	Poller string // "epoll", "poll" or "select"

	Balance bool // idle connections move from children that have many to those that have few

	Health  Health
	Retired Retired
	Upgrade Upgrade

	// TrustedProxies hold where a listener does not say otherwise.
	TrustedProxies Addresses
	// ForwardedField is the field that trusted proxies tell the client in:
	// "auto", "X-Forwarded-For" or "Forwarded".
	ForwardedField string

	Limits, Workers *Block // never nil

	Log       Log
	Listeners []Listener // at least one, in the order of the files
	Sites     []Site     // in the order of the files

	// Digest is the SHA-256, in hex, of everything above but Path and the
	// places in files: equal digests mean configurations that act the same.
	Digest string

	top *Block // what the files say, for places; nil for a configuration that no file was decoded for
}

// Health says when a child is not fit any more.
type Health struct {
	HangTimeout time.Duration // its loop does not turn for so long: it hangs; 0: it never does
	MemoryLimit int64         // resident bytes above which it is replaced; 0: any number is fine
}

// Retired bounds the generations that a child still serves exchanges of after a reload. What is left of one beyond the bounds is ended.
type Retired struct {
	Most    int           // generations
	Timeout time.Duration // since it was retired; 0: for ever
}

// Upgrade says how long a new version is on trial, and what it is taken back for.
type Upgrade struct {
	Timeout   time.Duration // from the start to the end of the probation
	Canary    time.Duration // one child of the new version serves beside the old ones; 0: left out
	Probation time.Duration // all of its children serve, and the old ones could go on; 0: left out

	MinRequests   int           // finished, before shares and latencies are judged
	ErrorPercent  int           // percentage points by which its share of server errors may exceed the old version's
	LatencyFactor int           // times the old version's p99 that its p99 may be
	LatencyFloor  time.Duration // a p99 that is greater by no more is fine all the same
}

// Log says what is logged, how, and where to.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "auto", "human" or "json"
	File   string // "": stderr
}

// Listener is one address with its options.
type Listener struct {
	Name     string
	Address  Address
	Deferred bool        // accept only once data has arrived
	Backlog  int         // 0: as long as the kernel allows
	Mode     fs.FileMode // of a unix socket

	TrustedProxies Addresses
	ProxyProtocol  bool // every connection begins with a PROXY header; its peer must be trusted
	Pos            Position
}

// Address is where a listener listens.
type Address struct {
	Network   string         // "tcp" or "unix"
	Addr      netip.AddrPort // of tcp; IPv4 is never mapped into IPv6
	DualStack bool           // [::] that takes IPv4 too
	Path      string         // of unix
}

// Site is a set of hosts with their routes.
type Site struct {
	Name       string
	Hosts      []string // lower case, without trailing dot; empty for a default site
	Listeners  []string // names, never empty, in the order of the listeners
	Default    bool     // answers for every host that no other site has
	Middleware []*Block // around all routes, those from code too: in the order of the file, the outermost first
	Routes     []Route  // in the order of the file, those from code last
	AccessLog  *AccessLog
	Pos        Position
}

// AccessLog says how and where a site logs its requests.
type AccessLog struct {
	Format string // "combined", "common" or "json"
	File   string // "stdout" or a path
}

// Route binds a pattern to a module.
type Route struct {
	Pattern    string
	Middleware []*Block // inside the site's: in the order of the file, the outermost first
	Limits     *Block   // nil when the route has none of its own
	Module     string   // "" when FromCode
	Block      *Block   // the module's block; nil when FromCode
	Pos        Position
	FromCode   bool
}
