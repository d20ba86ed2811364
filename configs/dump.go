package configs

import (
	"fmt"
	"strings"
)

// Dump writes the configuration as one file in the native syntax, with every
// default spelled out and every path absolute. It resolves to the same Digest.
// Routes from code stand in comments.
func (c *Config) Dump() string {
	spec := topLevel(&Schema{})
	d := &dumper{}
	top := map[string]any{
		"children": c.Children, "pin": c.Pin, "procs": c.Procs,
		"user": c.User, "group": c.Group, "control": c.Control, "runtime_dir": c.Runtime,
		"drain_timeout": c.DrainTimeout, "orphan_timeout": c.OrphanTimeout, "poller": c.Poller,
		"trusted_proxies": c.TrustedProxies.literals(), "forwarded_field": c.ForwardedField,
	}
	for i := range spec.Attributes {
		a := &spec.Attributes[i]
		if v, ok := top[a.Name]; ok { // include is resolved: there is one file now
			d.attribute(a, v)
		}
	}
	d.open("log")
	log := spec.block("log")
	d.attribute(log.attribute("level"), c.Log.Level)
	d.attribute(log.attribute("format"), c.Log.Format)
	d.attribute(log.attribute("file"), c.Log.File)
	d.close()
	d.block(c.Limits)
	d.block(c.Workers)
	for i := range c.Listeners {
		d.listener(&c.Listeners[i], spec.block("listen"))
	}
	for i := range c.Sites {
		d.site(&c.Sites[i], spec.block("site"))
	}
	d.flush()
	return d.String()
}

// dumper writes native syntax, indented, with the = of neighbours aligned.
type dumper struct {
	strings.Builder
	depth   int
	pending [][2]string // attributes whose width is not known yet
}

// line writes an indented line.
func (d *dumper) line(text string) {
	if text != "" {
		text = strings.Repeat("  ", d.depth) + text
	}
	d.WriteString(text + "\n")
}

func (d *dumper) open(name string, labels ...string) {
	d.flush()
	if text := d.String(); text != "" && !strings.HasSuffix(text, "{\n") {
		d.line("")
	}
	d.line(strings.Join(append([]string{name}, quoteAll(labels)...), " ") + " {")
	d.depth++
}

func (d *dumper) close() {
	d.flush()
	d.depth--
	d.line("}")
}

func (d *dumper) attribute(a *Attribute, v any) {
	d.pending = append(d.pending, [2]string{a.Name, a.format(v)})
}

func (d *dumper) flush() {
	width := 0
	for _, p := range d.pending {
		width = max(width, len(p[0]))
	}
	for _, p := range d.pending {
		value := strings.ReplaceAll(p[1], "\n", "\n"+strings.Repeat("  ", d.depth))
		d.line(fmt.Sprintf("%-*s = %s", width, p[0], value))
	}
	d.pending = d.pending[:0]
}

func (d *dumper) block(b *Block) {
	if len(b.values) == 0 && len(b.blocks) == 0 {
		d.flush()
		d.line(where(b.spec, b.labels) + " {}")
		return
	}
	d.open(b.Name(), b.labels...)
	for i := range b.spec.Attributes {
		a := &b.spec.Attributes[i]
		if s, ok := b.values[a.Name]; ok {
			d.attribute(a, s.value)
		}
	}
	for _, inner := range b.blocks {
		d.block(inner)
	}
	d.close()
}

func (d *dumper) listener(l *Listener, spec *BlockSpec) {
	d.open("listen", l.Name)
	d.attribute(spec.attribute("address"), l.Address.String())
	if l.Address.Network == "tcp" {
		d.attribute(spec.attribute("deferred"), l.Deferred)
	}
	d.attribute(spec.attribute("backlog"), l.Backlog)
	if l.Address.Network == "unix" {
		d.attribute(spec.attribute("mode"), fmt.Sprintf("%04o", uint32(l.Mode)))
	}
	d.attribute(spec.attribute("trusted_proxies"), l.TrustedProxies.literals())
	d.attribute(spec.attribute("proxy_protocol"), l.ProxyProtocol)
	d.close()
}

func (d *dumper) site(s *Site, spec *BlockSpec) {
	d.open("site", s.Name)
	if len(s.Hosts) > 0 {
		d.attribute(spec.attribute("hosts"), s.Hosts)
	}
	d.attribute(spec.attribute("listen"), s.Listeners)
	if s.AccessLog != nil {
		d.open("access_log")
		log := spec.block("access_log")
		d.attribute(log.attribute("format"), s.AccessLog.Format)
		d.attribute(log.attribute("file"), s.AccessLog.File)
		d.close()
	}
	for _, m := range s.Middleware {
		d.block(m)
	}
	for _, r := range s.Routes {
		if r.FromCode {
			d.flush()
			d.line("# from code: route " + quote(r.Pattern))
			continue
		}
		d.open("route", r.Pattern)
		if r.Limits != nil {
			d.block(r.Limits)
		}
		for _, m := range r.Middleware {
			d.block(m)
		}
		d.block(r.Block)
		d.close()
	}
	d.close()
}
