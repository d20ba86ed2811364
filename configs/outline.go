package configs

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
)

// outline is a configuration as one tree of blocks, with every value written as it stands in a file. Dump prints it, the digest hashes
// what is printed, and Diff compares two: so none of the three can know of a setting that the others do not.
type outline struct {
	name     string
	labels   []string
	group    group
	pos      Position
	settings []outlineSetting
	blocks   []*outline // by group, then in the order of the file
}

// outlineSetting is one attribute of a block.
type outlineSetting struct {
	name, value string
	note        string // what follows from other blocks: Diff shows it, Dump does not
	secret      bool
	given       bool // set in a file, or required: not a default
	pos         Position
}

// group says which of its neighbours a block is compared with. Those of one parent stand in ascending order.
type group int

const (
	plainBlock group = iota
	listenerBlock
	siteBlock
	middlewareBlock
	routeBlock
	codeRoute // no block: a route that the program's code registers
	moduleBlock
	groups int = iota
)

// plural names the blocks of a group.
func (g group) plural() string {
	return [...]string{"blocks", "listeners", "sites", "middleware", "routes", "routes from code", "modules"}[g]
}

// header is the block's beginning: `site "main"`.
func (o *outline) header() string {
	text := strings.Join(append([]string{o.name}, quoteAll(o.labels)...), " ")
	if o.group == codeRoute {
		text += " from code"
	}
	return text
}

// setting returns the attribute of that name, nil if the block has none.
func (o *outline) setting(name string) *outlineSetting {
	for i := range o.settings {
		if o.settings[i].name == name {
			return &o.settings[i]
		}
	}
	return nil
}

// set adds an attribute. source is the block of the file that it may stand in, nil when there is none.
func (o *outline) set(a *Attribute, v any, source *Block) {
	s := outlineSetting{name: a.Name, value: a.format(v), secret: a.Secret, given: a.Required}
	if source != nil && source.Has(a.Name) {
		s.given, s.pos = true, source.Pos(a.Name)
	}
	o.settings = append(o.settings, s)
}

// outline returns the whole configuration.
func (c *Config) outline() *outline {
	spec := topLevel(&Schema{})
	top := &outline{}
	values := map[string]any{
		"children": c.Children, "pin": c.Pin, "procs": c.Procs, "user": c.User, "group": c.Group,
		"control": c.Control, "control_mode": formatMode(c.ControlMode), "control_owner": c.ControlOwner, "control_group": c.ControlGroup,
		"runtime_dir": c.Runtime, "drain_timeout": c.DrainTimeout, "orphan_timeout": c.OrphanTimeout,
		"retired_generations": c.Retired.Most, "retired_timeout": c.Retired.Timeout,
		"balance": map[bool]string{true: "auto", false: "off"}[c.Balance], "poller": c.Poller,
		"trusted_proxies": c.TrustedProxies.literals(), "forwarded_field": c.ForwardedField,
	}
	for i := range spec.Attributes {
		a := &spec.Attributes[i]
		if v, ok := values[a.Name]; ok { // include is resolved: there is one file now
			top.set(a, v, c.top)
		}
	}
	top.single(spec.block("log"), c.source("log", ""), map[string]any{"level": c.Log.Level, "format": c.Log.Format, "file": c.Log.File})
	top.single(spec.block("health"), c.source("health", ""), map[string]any{
		"hang_timeout": c.Health.HangTimeout, "memory_limit": c.Health.MemoryLimit,
	})
	top.single(spec.block("upgrade"), c.source("upgrade", ""), map[string]any{
		"timeout": c.Upgrade.Timeout, "canary": c.Upgrade.Canary, "probation": c.Upgrade.Probation,
		"min_requests": c.Upgrade.MinRequests, "error_percent": c.Upgrade.ErrorPercent,
		"latency_factor": c.Upgrade.LatencyFactor, "latency_floor": c.Upgrade.LatencyFloor,
	})
	top.add(plainBlock, c.Limits)
	top.add(plainBlock, c.Workers)
	for i := range c.Listeners {
		l := &c.Listeners[i]
		top.blocks = append(top.blocks, l.outline(spec.block("listen"), c.source("listen", l.Name)))
	}
	for i := range c.Sites {
		s := &c.Sites[i]
		top.blocks = append(top.blocks, s.outline(spec.block("site"), c.source("site", s.Name)))
	}
	return top
}

// source returns the block of the top level that a part of the configuration comes from, nil when it stands in no file.
func (c *Config) source(name, label string) *Block {
	if c.top == nil {
		return nil
	}
	for _, b := range c.top.Blocks(name) {
		if label == "" || b.Label(0) == label {
			return b
		}
	}
	return nil
}

// single adds a block of this package that may stand once, with its attributes in the order of the spec.
func (o *outline) single(spec *BlockSpec, source *Block, values map[string]any) {
	inner := &outline{name: spec.Name}
	if source != nil {
		inner.pos = source.pos
	}
	for i := range spec.Attributes {
		inner.set(&spec.Attributes[i], values[spec.Attributes[i].Name], source)
	}
	o.blocks = append(o.blocks, inner)
}

// add adds a block as it was decoded, nil for none.
func (o *outline) add(g group, b *Block) {
	if b == nil {
		return
	}
	inner := &outline{name: b.Name(), labels: b.labels, group: g, pos: b.pos}
	for i := range b.spec.Attributes {
		a := &b.spec.Attributes[i]
		if s, ok := b.values[a.Name]; ok {
			inner.set(a, s.value, b)
		}
	}
	for _, deeper := range b.blocks {
		inner.add(plainBlock, deeper)
	}
	o.blocks = append(o.blocks, inner)
}

func (l *Listener) outline(spec *BlockSpec, source *Block) *outline {
	o := &outline{name: spec.Name, labels: []string{l.Name}, group: listenerBlock, pos: l.Pos}
	set := func(name string, v any) { o.set(spec.attribute(name), v, source) }
	set("address", l.Address.String())
	if a := l.Address; a.Addr.Addr() == netip.IPv6Unspecified() && !a.DualStack {
		o.settings[0].note = " (IPv6 only)" // a listener on 0.0.0.0 has the IPv4 of its port
	}
	if l.Address.Network == "tcp" {
		set("deferred", l.Deferred)
	}
	set("backlog", l.Backlog)
	if l.Address.Network == "unix" {
		set("mode", formatMode(l.Mode))
	}
	set("trusted_proxies", l.TrustedProxies.literals())
	set("proxy_protocol", l.ProxyProtocol)
	return o
}

func (s *Site) outline(spec *BlockSpec, source *Block) *outline {
	o := &outline{name: spec.Name, labels: []string{s.Name}, group: siteBlock, pos: s.Pos}
	if len(s.Hosts) > 0 {
		o.set(spec.attribute("hosts"), s.Hosts, source)
	}
	o.set(spec.attribute("listen"), s.Listeners, source)
	if s.AccessLog != nil {
		var log *Block
		if source != nil {
			log = source.Block("access_log")
		}
		o.single(spec.block("access_log"), log, map[string]any{"format": s.AccessLog.Format, "file": s.AccessLog.File})
	}
	for _, m := range s.Middleware {
		o.add(middlewareBlock, m)
	}
	for _, r := range s.Routes {
		route := &outline{name: "route", labels: []string{r.Pattern}, group: routeBlock, pos: r.Pos}
		o.blocks = append(o.blocks, route)
		if r.FromCode {
			route.group = codeRoute
			continue
		}
		route.add(plainBlock, r.Limits)
		for _, m := range r.Middleware {
			route.add(middlewareBlock, m)
		}
		route.add(moduleBlock, r.Block)
	}
	return o
}

// formatMode writes permissions as they stand in a file, without quotes.
func formatMode(mode fs.FileMode) string { return fmt.Sprintf("%04o", uint32(mode)) }
