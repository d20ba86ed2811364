package rqlite

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Options are how a cluster is reached.
type Options struct {
	// Nodes are the HTTP addresses of some or all nodes: http://host:4001 or https://…, without a path. A user and a password in an address
	// are that node's; User and Password are for the others.
	Nodes          []string
	User, Password string
	// Level is how fresh reads are that do not say: none, weak, linearizable or strong; "" is weak.
	Level string
	// Timeout bounds a call with all its tries; 0: 10 s. A failover takes 2 to 3 s.
	Timeout time.Duration
	// Connections bounds those to one node; 0: 32. A result that is being read holds one.
	Connections int
	// SchemaAge is how old the copy of the schema may be that Inspect uses; 0: 30 s. What is run is guarded, whatever its age.
	SchemaAge time.Duration
	// RoundTripper replaces net/http's transport; nil: one of the cluster's own.
	RoundTripper http.RoundTripper
	// Log takes what an operator should know; nil: nothing is logged. It is told addresses, and never passwords.
	Log func(message string, err error)
}

const (
	defaultTimeout     = 10 * time.Second
	defaultConnections = 32
	defaultSchemaAge   = 30 * time.Second
	dialTimeout        = 2 * time.Second
	idleTimeout        = 15 * time.Second
	// retryAfter is what clients are told when there is no leader: most elections are over by then.
	retryAfter = 2 * time.Second
)

// Levels are the consistency levels of reads, the weakest first.
var levels = []string{"none", "weak", "linearizable", "strong"}

// A node is one of the configured ones.
type node struct {
	base           string // http://host:port
	user, password string
}

// A Cluster is an rqlite cluster. It implements engine.Database.
type Cluster struct {
	nodes     []node
	level     string
	timeout   time.Duration
	schemaAge time.Duration
	client    *http.Client
	idle      func() // closes connections that wait
	log       func(string, error)

	preferred atomic.Int64 // index of the node that answered last: the leader, as a rule
	forwarded atomic.Int64 // answers in a row that came through a node that is not the leader

	closed atomic.Bool
	// refresh is held while the schema is asked for, so that one call asks and the others wait for it.
	refresh chan struct{}

	mu     sync.Mutex
	schema *schema // guarded by mu; nil: not known yet
}

var _ engine.Database = (*Cluster)(nil)

// Open makes a Cluster. It asks nothing of the nodes yet: they may come later. Its errors are for operators and name the setting.
func Open(o Options) (*Cluster, error) {
	if len(o.Nodes) == 0 {
		return nil, errors.New("nodes: there is none; list addresses like \"http://10.0.0.1:4001\"")
	}
	c := &Cluster{
		level: o.Level, timeout: o.Timeout, schemaAge: o.SchemaAge, log: o.Log,
		refresh: make(chan struct{}, 1),
	}
	for _, address := range o.Nodes {
		n, err := parseNode(address, o.User, o.Password)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	if c.level == "" {
		c.level = "weak"
	}
	if !slices.Contains(levels, c.level) {
		return nil, fmt.Errorf("level: %q is none of %s", c.level, strings.Join(levels, ", "))
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.schemaAge <= 0 {
		c.schemaAge = defaultSchemaAge
	}
	if c.log == nil {
		c.log = func(string, error) {}
	}
	transport := o.RoundTripper
	if transport == nil {
		transport = newTransport(o.Connections)
	}
	c.idle = func() {}
	if t, ok := transport.(interface{ CloseIdleConnections() }); ok {
		c.idle = t.CloseIdleConnections
	}
	c.client = &http.Client{
		Transport: transport,
		// A redirect would repeat a write at an address that nobody has configured, and take the password there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func newTransport(connections int) *http.Transport {
	if connections <= 0 {
		connections = defaultConnections
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
	}
}

// parseNode reads an address of the configuration. Its errors do not repeat the address: it may hold a password.
func parseNode(address, user, password string) (node, error) {
	u, err := url.Parse(address)
	if err != nil {
		return node{}, errors.New("nodes: an address cannot be read; write it like \"http://10.0.0.1:4001\"")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return node{}, fmt.Errorf("nodes: %q has no http:// or https:// and host", u.Redacted())
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return node{}, fmt.Errorf("nodes: %q has more than a host and a port", u.Redacted())
	}
	n := node{base: u.Scheme + "://" + u.Host, user: user, password: password}
	if u.User != nil {
		n.user = u.User.Username()
		n.password, _ = u.User.Password()
	}
	return n, nil
}

// Tag returns false: a cluster has no version that costs less to ask for than the rows.
func (c *Cluster) Tag() (engine.Tag, bool) { return engine.Tag{}, false }

// Close gives the connections back that wait, and the copy of the schema. Rows that are open stay readable; other calls fail from now on.
func (c *Cluster) Close() {
	if c.closed.Swap(true) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.schema != nil {
		c.schema.close()
		c.schema = nil
	}
	c.idle()
}
