package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxName is the length in bytes up to which listeners and sites have names:
// they are log fields and keys of messages.
const maxName = 64

// maxRuntimeDir leaves room for the sockets of children in a unix socket's
// path.
const maxRuntimeDir = maxSocketPath - len("/children/1023.sock")

// Resolve turns the sources into a configuration. It returns all mistakes at
// once; the Config is nil when one of them is an error. It is a pure function
// of its arguments, but for the look-up of user and group. Sources without a
// file give Default, if the schema allows that.
func Resolve(s *Sources, schema *Schema) (*Config, Diagnostics) {
	if s == nil || len(s.Files) == 0 {
		if schema.NoFile {
			return resolveDefault(schema)
		}
		return nil, Diagnostics{{Message: "there is no configuration file", Cure: "name one with -c FILE"}}
	}
	r := &report{}
	spec := topLevel(schema)
	var root bodyNode
	d := newDecoder(r, s.dir)
	d.grammar = &spec
	for _, file := range s.Files {
		r.files = append(r.files, file.Name)
		p := parse(file, &spec, r)
		p.body.byPlace()
		d.partial = d.partial || p.partial
		root.attributes = append(root.attributes, withoutIncludes(d, &spec, p.body.attributes)...)
		root.blocks = append(root.blocks, p.body.blocks...)
		root.damaged = root.damaged || p.body.damaged
	}
	start := Position{File: s.Files[0].Name, Line: 1, Column: 1}
	top := d.block(&root, &spec, nil, start)
	d.partial = d.partial || root.damaged
	config := newResolver(d, schema, start).config(s.Path, top)
	diags := r.sorted()
	if diags.HasErrors() {
		return nil, diags
	}
	config.Digest = config.digest()
	return config, diags
}

// withoutIncludes checks the include of a file and takes it out: each file may
// have one, and Read has followed it.
func withoutIncludes(d *decoder, spec *BlockSpec, list []attributeNode) []attributeNode {
	return slices.DeleteFunc(list, func(n attributeNode) bool {
		if n.name != "include" {
			return false
		}
		_, mistakes := spec.attribute("include").decode(n.value, "")
		d.mistakes(mistakes, n.pos)
		return true
	})
}

// Load reads and resolves a configuration. Mistakes of both steps come at once.
// The sources are nil when the root file could not be read.
func Load(path string, schema *Schema) (*Config, *Sources, Diagnostics) {
	s, diags := Read(path)
	if s == nil {
		return nil, nil, diags
	}
	config, more := Resolve(s, schema)
	r := &report{list: append(diags, more...)}
	for _, f := range s.Files {
		r.files = append(r.files, f.Name)
	}
	diags = r.sorted()
	if diags.HasErrors() {
		config = nil
	}
	return config, s, diags
}

// Default is the configuration of a program without a file: one listener "main"
// on 127.0.0.1:8080 and one default site "main", which the routes from code
// join. A mistake in those is left to Resolve.
func Default(schema *Schema) *Config {
	config, _ := resolveDefault(schema)
	return config
}

func resolveDefault(schema *Schema) (*Config, Diagnostics) {
	r := &report{}
	spec := topLevel(schema)
	listen := spec.block("listen")
	site := spec.block("site")
	top := emptyBlock(&spec, nil)
	listener := emptyBlock(listen, []string{"main"})
	listener.values["address"] = setting{value: "127.0.0.1:8080", given: true}
	top.blocks = []*Block{listener, emptyBlock(site, []string{"main"})}
	config := newResolver(newDecoder(r, nil), schema, Position{}).config("", top)
	config.Digest = config.digest()
	return config, slices.DeleteFunc(r.sorted(), func(d Diagnostic) bool { return d.Severity == Warning })
}

// Control returns the control socket and the runtime directory that the sources
// set, "" for those that they do not: also when the sources are full of other
// mistakes, so that a running master can be found.
func Control(s *Sources) (control, runtimeDir string) {
	if s == nil {
		return "", ""
	}
	spec := topLevel(&Schema{})
	set := func(file Source, name string, v value) {
		at, ok := map[string]*string{"control": &control, "runtime_dir": &runtimeDir}[name]
		if !ok || *at != "" {
			return
		}
		path, _ := spec.attribute(name).decode(v, s.dir(file.Name))
		*at, _ = path.(string) // "" for a mistake
	}
	for _, file := range s.Files {
		parsed := parse(file, &spec, &report{})
		for _, n := range parsed.body.attributes {
			set(file, n.name, n.value)
		}
		if parsed.partial {
			for _, n := range assignments(file) {
				set(file, n.name, n.value)
			}
		}
	}
	return control, runtimeDir
}

// assignments finds what looks like NAME = "TEXT" in a file whose structure is broken, at any depth: an unclosed block hides what follows
// from the parser, and the lexer still sees it.
func assignments(file Source) (list []attributeNode) {
	tokens, _ := hclsyntax.LexConfig(file.Bytes, file.Name, hcl.InitialPos) // mistakes are reported elsewhere
	for i := 0; i+4 < len(tokens); i++ {
		shape := [...]hclsyntax.TokenType{hclsyntax.TokenIdent, hclsyntax.TokenEqual, hclsyntax.TokenOQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenCQuote}
		fits := true
		for j, kind := range shape {
			fits = fits && tokens[i+j].Type == kind
		}
		if fits {
			list = append(list, attributeNode{name: string(tokens[i].Bytes), value: value{kind: textValue, text: string(tokens[i+3].Bytes)}})
		}
	}
	return list
}

// resolver applies the rules that span blocks.
type resolver struct {
	*decoder
	schema *Schema
	start  Position // of the root file

	listeners []Listener
	known     map[string]bool // names of listeners, broken ones too
	hosts     map[hostOf]Position
}

type hostOf struct{ site, host string }

func newResolver(d *decoder, schema *Schema, start Position) *resolver {
	return &resolver{decoder: d, schema: schema, start: start, known: make(map[string]bool), hosts: make(map[hostOf]Position)}
}

func (r *resolver) config(path string, top *Block) *Config {
	c := &Config{
		Path:          path,
		Children:      top.Int("children"),
		Pin:           top.Bool("pin"),
		Procs:         top.Int("procs"),
		User:          top.String("user"),
		Group:         top.String("group"),
		Control:       top.Path("control"),
		ControlMode:   parseMode(top.String("control_mode")),
		ControlOwner:  top.String("control_owner"),
		ControlGroup:  top.String("control_group"),
		Runtime:       top.Path("runtime_dir"),
		DrainTimeout:  top.Duration("drain_timeout"),
		OrphanTimeout: top.Duration("orphan_timeout"),
		Retired:       Retired{Most: top.Int("retired_generations"), Timeout: top.Duration("retired_timeout")},
		Balance:       top.String("balance") == "auto",
		Poller:        top.String("poller"),
		Limits:        r.single(top, "limits"),
		Workers:       r.single(top, "workers"),
		top:           top,
	}
	log := r.single(top, "log")
	c.Log = Log{Level: log.String("level"), Format: log.String("format"), File: log.Path("file")}
	health := r.single(top, "health")
	c.Health = Health{HangTimeout: health.Duration("hang_timeout"), MemoryLimit: health.Size("memory_limit")}
	c.Upgrade = upgradeOf(r.single(top, "upgrade"))
	c.TrustedProxies, c.ForwardedField = r.trustedProxies(top), top.String("forwarded_field")
	r.accounts(c, top)
	r.sockets(c, top)
	for _, b := range top.Blocks("listen") {
		r.listener(b, top, c.TrustedProxies)
	}
	r.addresses()
	c.Listeners = r.listeners
	if len(r.known) == 0 && !r.partial {
		r.err(r.start, "there is no listener", "add one:\n    listen \"main\" {\n      address = \"127.0.0.1:8080\"\n    }")
	}
	for _, b := range top.Blocks("site") {
		c.Sites = append(c.Sites, r.site(b))
	}
	r.overlaps(c.Sites)
	r.codeRoutes(c)
	r.idle(c)
	return c
}

func upgradeOf(b *Block) Upgrade {
	return Upgrade{
		Timeout: b.Duration("timeout"), Canary: b.Duration("canary"), Probation: b.Duration("probation"),
		MinRequests: b.Int("min_requests"), ErrorPercent: b.Int("error_percent"),
		LatencyFactor: b.Int("latency_factor"), LatencyFloor: b.Duration("latency_floor"),
	}
}

// single returns a block that may be absent; its defaults then.
func (r *resolver) single(top *Block, name string) *Block {
	if b := top.Block(name); b != nil {
		return b
	}
	return emptyBlock(top.spec.block(name), nil)
}

func (r *resolver) accounts(c *Config, top *Block) {
	look := func(attribute, kind, name string, lookup func(string) error, otherwise string) {
		if name == "" || r.partial {
			return
		}
		if err := lookup(name); err != nil {
			r.err(top.Pos(attribute), fmt.Sprintf("there is no %s %s on this machine", kind, Quote(name)),
				"create it, or remove the line: then "+otherwise)
		}
	}
	lookupUser, lookupGroup := r.schema.LookupUser, r.schema.LookupGroup
	if lookupUser == nil {
		lookupUser = systemUser
	}
	if lookupGroup == nil {
		lookupGroup = systemGroup
	}
	look("user", "user", c.User, lookupUser, "the user is not changed")
	look("group", "group", c.Group, lookupGroup, "the group is not changed")
	look("control_owner", "user", c.ControlOwner, lookupUser, "the socket belongs to the user of the master")
	look("control_group", "group", c.ControlGroup, lookupGroup, "the socket has the group of the master")
}

func systemUser(name string) error {
	if _, err := strconv.Atoi(name); err == nil {
		_, err = user.LookupId(name)
		return err
	}
	_, err := user.Lookup(name)
	return err
}

func systemGroup(name string) error {
	if _, err := strconv.Atoi(name); err == nil {
		_, err = user.LookupGroupId(name)
		return err
	}
	_, err := user.LookupGroup(name)
	return err
}

// sockets checks the lengths of the paths that become sockets, and who may use them.
func (r *resolver) sockets(c *Config, top *Block) {
	if c.ControlMode&0o002 != 0 {
		r.warn(top.Pos("control_mode"), "control_mode "+Quote(formatMode(c.ControlMode))+" is for everybody, and the server refuses commands of others than its own user and the socket's owner and group",
			`write "0660", and name those who may in control_group`)
	}
	if p := checkSocketPath(c.Control); p != nil {
		r.problem(top.Pos("control"), p)
		return
	}
	dir, at := c.Runtime, "runtime_dir"
	if dir == "" && c.Control != "" {
		dir, at = filepath.Dir(c.Control), "control"
	}
	if len(dir) > maxRuntimeDir {
		r.err(top.Pos(at), fmt.Sprintf("the runtime directory holds sockets, so its path has at most %d bytes, and %s has %d", maxRuntimeDir, Quote(dir), len(dir)),
			"use a shorter one, such as /run/tined")
	}
}

// name checks the name of a listener or site.
func (r *resolver) name(b *Block) {
	name := b.Label(0)
	ok := name != "" && len(name) <= maxName
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		r.err(b.pos, fmt.Sprintf("%s is no name for a %s", Quote(name), map[string]string{"listen": "listener", "site": "site"}[b.Name()]),
			fmt.Sprintf("use letters, digits, - _ and ., at most %d", maxName))
	}
}

func (r *resolver) listener(b, top *Block, trusted Addresses) {
	r.name(b)
	r.known[b.Label(0)] = true
	if r.broken[b] || !b.Has("address") {
		return
	}
	a, p := parseAddress(b.String("address"))
	if p == nil && a.Network == "unix" {
		dir := ""
		if at := b.Pos("address"); at.File != "" {
			dir = r.dir(at.File)
		}
		a.Path, p = absolute(a.Path, dir)
	}
	if p == nil {
		p = a.checkPath()
	}
	if p != nil {
		r.problem(b.Pos("address"), p)
		return
	}
	l := Listener{Name: b.Label(0), Address: a, Deferred: b.Bool("deferred"), Backlog: b.Int("backlog"), Pos: b.pos}
	if a.Network == "unix" {
		l.Mode = parseMode(b.String("mode"))
	}
	l.ProxyProtocol, l.TrustedProxies = b.Bool("proxy_protocol"), trusted
	says := top
	if b.Has("trusted_proxies") {
		says, l.TrustedProxies = b, r.trustedProxies(b)
	}
	if l.ProxyProtocol && !r.broken[says] {
		r.proxyProtocol(b, &l)
	}
	r.listeners = append(r.listeners, l)
}

// parseMode reads permissions that checkMode has seen.
func parseMode(text string) fs.FileMode {
	mode, _ := strconv.ParseUint(text, 8, 32)
	return fs.FileMode(mode)
}

// addresses refuses an address that two listeners have, and takes IPv4 away
// from a wildcard [::] that has a 0.0.0.0 of the same port beside it.
func (r *resolver) addresses() {
	first := make(map[Address]*Listener)
	wild4 := make(map[uint16]bool)
	for i := range r.listeners {
		l := &r.listeners[i]
		a := l.Address
		if a.Network == "tcp" && a.Addr.Port() == 0 {
			continue // the kernel gives each a port of its own
		}
		if a.Addr.Addr() == netip.IPv4Unspecified() {
			wild4[a.Addr.Port()] = true
		}
		if other := first[a.normal()]; other != nil {
			r.err(l.Pos, fmt.Sprintf("listen %s has the address %s, which listen %s has already at %s", Quote(l.Name), a, Quote(other.Name), other.Pos),
				"change one of the addresses, or remove one of the listeners")
			continue
		}
		first[a.normal()] = l
	}
	for i := range r.listeners {
		a := &r.listeners[i].Address
		if a.DualStack && a.Addr.Port() != 0 && wild4[a.Addr.Port()] {
			a.DualStack = false
		}
	}
}

// idle warns of what is allowed and answers nothing.
func (r *resolver) idle(c *Config) {
	if r.partial || r.list.HasErrors() {
		return
	}
	if len(c.Sites) == 0 {
		r.warn(r.start, "there is no site: every request gets a 404", `add site "main" { } with a route`)
		return
	}
	used := make(map[string]bool)
	for _, s := range c.Sites {
		for _, name := range s.Listeners {
			used[name] = true
		}
		if len(s.Routes) == 0 {
			r.warn(s.Pos, fmt.Sprintf("site %s has no route: every request to it gets a 404", Quote(s.Name)), `add route "/" { } with a module`)
		}
	}
	for _, l := range c.Listeners {
		if !used[l.Name] {
			r.warn(l.Pos, fmt.Sprintf("listen %s has no site: every request to it gets a 404", Quote(l.Name)), "name it in listen of a site, or remove it")
		}
	}
}

// digest hashes the dump: it holds everything that the configuration means, in
// one form.
func (c *Config) digest() string {
	sum := sha256.Sum256([]byte(c.Dump()))
	return hex.EncodeToString(sum[:])
}
