package configs

import (
	"slices"
	"strings"
)

// Change is one difference between two configurations.
type Change struct {
	// Kind is "added", "removed" or "changed".
	Kind string `json:"kind"`
	// What names the thing: `listen "main"`, `site "main" route "GET /x"`, `limits body`, `log level`.
	What string `json:"what"`
	// From and To are values as they stand in a file, for a change of one. A removed listener, site or route has its address, hosts or
	// module in From.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Restart: a reload cannot make it.
	Restart bool `json:"restart,omitempty"`
	// Pos is where the new one stands, or the old one for what was removed; "" for a default.
	Pos string `json:"pos,omitempty"`
}

// Kinds of a Change.
const (
	added   = "added"
	removed = "removed"
	changed = "changed"
)

// restartOnly are the settings of the top level that a reload cannot change, and why: docs/reload.md has the same table. Everything else
// can be changed, the mode, owner and group of the control socket too: they are set anew on the socket that is there.
var restartOnly = []struct{ setting, reason string }{
	{"user", "The children that are started later would be another user than those that serve, and the files that are open belong to the old one."},
	{"group", "As `user`."},
	{"control", "Commands find the server by it: those that know the old path would find nothing."},
	{"runtime_dir", "The sockets of the children that serve are in it, and a next master looks for them there."},
	{"poller", "A child chooses it once, before its first connection."},
}

// secret stands for a value that differences do not show.
const secret = "(secret)"

// Diff compares two resolved configurations, in the order of Dump. It is empty exactly if the digests are equal. What was added is named
// whole: the block, then what its file says in it. Of what was removed only the block is named.
func Diff(from, to *Config) []Change {
	d := &differ{}
	d.content("", from.outline(), to.outline())
	return d.list
}

// RestartOnly says why a reload cannot make the changes, in one sentence with the cure; "" when it can.
func RestartOnly(changes []Change) string {
	var names []string
	for _, c := range changes {
		if c.Restart {
			names = append(names, c.What)
		}
	}
	switch last := len(names) - 1; {
	case last < 0:
		return ""
	case last == 0:
		return names[0] + " cannot be changed by a reload: put it back, or restart the server"
	default:
		return strings.Join(names[:last], ", ") + " and " + names[last] + " cannot be changed by a reload: put them back, or restart the server"
	}
}

// differ walks two outlines side by side. path names the block: "" or `site "main" `, with the space.
type differ struct{ list []Change }

func (d *differ) add(c Change, at Position) {
	c.Pos = at.String()
	d.list = append(d.list, c)
}

// content compares what stands in two blocks.
func (d *differ) content(path string, from, to *outline) {
	d.settings(path, from, to)
	for g := plainBlock; g < group(groups); g++ {
		d.blocks(path, g, from.in(g), to.in(g))
	}
}

func (o *outline) in(g group) (list []*outline) {
	for _, b := range o.blocks {
		if b.group == g {
			list = append(list, b)
		}
	}
	return list
}

// settings compares the attributes of two blocks. Without a place of its own the new value is a default: it then stands for the block.
func (d *differ) settings(path string, from, to *outline) {
	for i := range from.settings {
		if old := &from.settings[i]; to.setting(old.name) == nil {
			d.setting(Change{Kind: removed, What: path + old.name}, old, nil, old.pos)
		}
	}
	for i := range to.settings {
		s := &to.settings[i]
		at := s.pos
		if at == (Position{}) {
			at = to.pos
		}
		switch old := from.setting(s.name); {
		case old == nil:
			d.setting(Change{Kind: added, What: path + s.name}, nil, s, at)
		case old.value != s.value || old.note != s.note:
			restart := path == "" && slices.ContainsFunc(restartOnly, func(r struct{ setting, reason string }) bool { return r.setting == s.name })
			d.setting(Change{Kind: changed, What: path + s.name, Restart: restart}, old, s, at)
		}
	}
}

func (d *differ) setting(c Change, from, to *outlineSetting, at Position) {
	if from != nil {
		c.From = from.shown()
	}
	if to != nil {
		c.To = to.shown()
	}
	d.add(c, at)
}

func (s *outlineSetting) shown() string {
	if s.secret {
		return secret
	}
	return s.value + s.note
}

// blocks compares the blocks of one group in two parents.
func (d *differ) blocks(path string, g group, from, to []*outline) {
	if g == moduleBlock && len(from) == 1 && len(to) == 1 && from[0].header() != to[0].header() {
		d.add(Change{Kind: changed, What: path + "module", From: from[0].header(), To: to[0].header()}, to[0].pos)
		d.inside(path+to[0].header()+" ", to[0])
		return
	}
	before := partners(from, to)
	for _, old := range from {
		if !slices.Contains(before, old) {
			d.add(Change{Kind: removed, What: path + old.header(), From: old.gist()}, old.pos)
		}
	}
	var kept, were []string
	for i, b := range to {
		what := path + b.header()
		old := before[i]
		if old == nil {
			d.add(Change{Kind: added, What: what}, b.pos)
			d.inside(what+" ", b)
			continue
		}
		if old.header() != b.header() {
			d.add(Change{Kind: changed, What: what + " name", From: Quote(old.labels[0]), To: Quote(b.labels[0])}, b.pos)
		}
		d.content(what+" ", old, b)
		kept = append(kept, b.call())
	}
	// Those that both have, as they stood: in another order is a difference of its own.
	for _, old := range from {
		if i := slices.Index(before, old); i >= 0 {
			were = append(were, to[i].call())
		}
	}
	if !slices.Equal(were, kept) {
		d.add(Change{Kind: changed, What: path + "order of " + g.plural(), From: listOf(were), To: listOf(kept)}, to[0].pos)
	}
}

// inside names what the files say in a block that was added.
func (d *differ) inside(path string, b *outline) {
	for i := range b.settings {
		if s := &b.settings[i]; s.given {
			d.setting(Change{Kind: added, What: path + s.name}, nil, s, s.pos)
		}
	}
	for _, inner := range b.blocks {
		d.add(Change{Kind: added, What: path + inner.header()}, inner.pos)
		d.inside(path+inner.header()+" ", inner)
	}
}

// partners returns for each block of to the one of from that it is a later state of: that of the same header, else one that is gone and is
// the same thing under another name. nil for one that is new.
func partners(from, to []*outline) []*outline {
	list := make([]*outline, len(to))
	byHeader := make(map[string]*outline, len(from))
	for _, old := range from {
		byHeader[old.header()] = old
	}
	for i, b := range to {
		list[i] = byHeader[b.header()]
		delete(byHeader, b.header())
	}
	for i, b := range to {
		if list[i] != nil || b.identity() == "" {
			continue
		}
		for _, old := range from {
			if byHeader[old.header()] == old && old.identity() == b.identity() {
				list[i] = old
				delete(byHeader, old.header())
				break
			}
		}
	}
	return list
}

// identity is what a listener or site is apart from its name: its address, or its hosts (without them, where it listens). "" for others.
func (o *outline) identity() string {
	switch o.group {
	case listenerBlock:
		address := o.setting("address").value
		if strings.HasSuffix(address, `:0"`) && !strings.HasPrefix(address, `"unix:`) {
			return "" // the kernel gives each name a port of its own
		}
		return address
	case siteBlock:
		if hosts := o.setting("hosts"); hosts != nil {
			return hosts.value
		}
		return "listen " + o.setting("listen").value
	}
	return ""
}

// gist is the value that tells best what a block was.
func (o *outline) gist() string {
	switch o.group {
	case listenerBlock:
		return o.setting("address").value
	case siteBlock:
		if hosts := o.setting("hosts"); hosts != nil {
			return hosts.value
		}
	case routeBlock:
		if module := o.in(moduleBlock); len(module) > 0 {
			return module[0].header()
		}
	}
	return ""
}

// call is how a block is called among those of its group.
func (o *outline) call() string {
	switch o.group {
	case listenerBlock, siteBlock, routeBlock, codeRoute:
		return Quote(o.labels[0])
	}
	return o.header()
}

func listOf(names []string) string { return "[" + strings.Join(names, ", ") + "]" }
