package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// decoder turns the tree into typed blocks, by their specs.
type decoder struct {
	*report
	dir func(file string) string // the directory of a file
	// partial: parts of the tree are lost, so nothing is reported as missing.
	partial bool
	// broken blocks have mistakes of their own: rules that span blocks leave
	// them out.
	broken map[*Block]bool
	// grammar is the top level, for what stands in a wrong place.
	grammar *BlockSpec
}

func newDecoder(r *report, dir func(string) string) *decoder {
	return &decoder{report: r, dir: dir, broken: make(map[*Block]bool)}
}

// where names a block for messages: `site "main"`.
func where(spec *BlockSpec, labels []string) string {
	if spec.Name == "" {
		return "the top level"
	}
	return strings.Join(append([]string{spec.Name}, quoteAll(labels)...), " ")
}

// in is "in BLOCK", or "at the top level".
func in(spec *BlockSpec, place string) string {
	if spec.Name == "" {
		return "at " + place
	}
	return "in " + place
}

func (b *Block) where() string { return where(b.spec, b.labels) }

// block decodes one block. The result is never nil.
func (d *decoder) block(node *bodyNode, spec *BlockSpec, labels []string, pos Position) *Block {
	b := emptyBlock(spec, labels)
	b.pos = pos
	errors := len(d.list)
	wrong, sure := d.attributes(b, node)
	for i := range spec.Attributes {
		a := &spec.Attributes[i]
		if a.Required && !b.Has(a.Name) && !d.partial && !node.damaged && !mentioned(node, spec, a.Name) {
			d.err(pos, where(spec, labels)+" needs "+a.Name, "add "+a.assignment())
			sure = false
		}
	}
	d.broken[b] = d.broken[b] || node.damaged || len(d.list) > errors
	errors = len(d.list)
	d.blocks(b, node)
	if sure && len(d.list) == errors && !node.damaged && spec.Check != nil && !d.partial {
		for _, p := range b.problems(wrong) {
			in := b
			if p.In != nil {
				in = p.In
			}
			at := in.pos
			if in.spec.block(p.At) != nil && in.Block(p.At) != nil {
				at = in.Block(p.At).pos
			} else if p.At != "" && p.Item > 0 {
				at = in.itemPos(p.At, p.Item-1)
			} else if p.At != "" {
				at = in.Pos(p.At)
			}
			d.problem(at, &p)
			d.broken[b] = true
		}
	}
	return b
}

// mentioned tells whether a required attribute stands in the block, if only
// with a wrong value or a slip in its name.
func mentioned(node *bodyNode, spec *BlockSpec, attribute string) bool {
	return slices.ContainsFunc(node.attributes, func(a attributeNode) bool {
		return a.name == attribute || spec.attribute(a.name) == nil && closest(a.name, spec.attributeNames()) == attribute
	})
}

// attributes decodes those of a block. wrong are the names of those whose default stands in for a mistake; sure is false when there are
// mistakes that no default can stand in for.
func (d *decoder) attributes(b *Block, node *bodyNode) (wrong map[string]bool, sure bool) {
	wrong, sure = make(map[string]bool), true
	for _, n := range node.attributes {
		a := b.spec.attribute(n.name)
		if a == nil {
			d.unknownAttribute(b, &n)
			sure = false
			continue
		}
		if s := b.values[n.name]; s.given {
			d.twice(n.name, n.pos, s.name)
			sure = false
			continue
		}
		v, mistakes := a.decode(n.value, d.dir(n.pos.File))
		if len(mistakes) == 0 {
			b.values[n.name] = setting{value: v, given: true, pos: n.value.pos, name: n.pos, items: itemPlaces(n.value), lines: n.value.lines}
			continue
		}
		d.broken[b] = true
		wrong[n.name], sure = true, sure && a.Default != nil
		d.mistakes(mistakes, n.pos)
	}
	return wrong, sure
}

// mistakes reports those of a value; name is the place of the attribute.
func (d *decoder) mistakes(list []mistake, name Position) {
	for _, m := range list {
		if m.Message == "" {
			continue // the parser has reported it
		}
		if m.at.File == "" {
			m.at = name
		}
		d.problem(m.at, m.Problem)
	}
}

func itemPlaces(v value) []Position {
	places := make([]Position, len(v.items))
	for i, item := range v.items {
		places[i] = item.pos
	}
	return places
}

func (d *decoder) blocks(b *Block, node *bodyNode) {
	seen := make(map[string]Position)
	for i := range node.blocks {
		n := &node.blocks[i]
		spec := b.spec.block(n.name)
		if spec == nil {
			d.unknownBlock(b, n)
			continue
		}
		labels := make([]string, len(n.labels))
		for i, l := range n.labels {
			labels[i] = l.text
		}
		if !d.labels(spec, n) {
			d.broken[b] = true
			// Its content is looked at nevertheless, for its mistakes.
			labels = append(labels, slices.Repeat([]string{""}, len(spec.Labels))...)[:len(spec.Labels)]
			unchecked := *spec
			unchecked.Check = nil
			d.block(&n.body, &unchecked, labels, n.pos)
			continue
		}
		inner := d.block(&n.body, spec, labels, n.pos)
		for _, l := range n.labels {
			inner.places = append(inner.places, l.pos)
		}
		key := spec.Name + "\x00" + strings.Join(labels, "\x00")
		first, again := seen[key]
		switch {
		case again && !spec.equalLabels && !spec.module:
			what := where(spec, labels)
			cure := "rename one of them, or join them"
			if len(labels) == 0 {
				cure = "join them in one block"
			}
			d.err(n.pos, fmt.Sprintf("%s is there already at %s", what, first), cure)
			continue
		case !spec.Repeat && !spec.module && d.singleTwice(b, spec, n.pos):
			continue
		}
		if !again {
			seen[key] = n.pos
		}
		b.blocks = append(b.blocks, inner)
	}
}

// singleTwice reports a block that its parent holds once only.
func (d *decoder) singleTwice(b *Block, spec *BlockSpec, at Position) bool {
	for _, inner := range b.blocks {
		if inner.spec.Name == spec.Name {
			d.err(at, fmt.Sprintf("%s may stand once only, and is there already at %s", spec.Name, inner.pos), "keep one of them")
			return true
		}
	}
	return false
}

// labels checks the number of labels of a block.
func (d *decoder) labels(spec *BlockSpec, n *blockNode) bool {
	if len(n.labels) == len(spec.Labels) {
		return true
	}
	header := spec.Name
	for i, name := range spec.Labels {
		label := strings.ToUpper(name)
		if i < len(n.labels) {
			label = n.labels[i].text
		}
		header += " " + Quote(label)
	}
	at, cure := n.pos, "write "+header+" { }"
	switch {
	case len(n.labels) > len(spec.Labels):
		at = n.labels[len(spec.Labels)].pos
		if len(spec.Labels) == 0 {
			d.err(at, spec.Name+" has no label", cure)
		} else {
			d.err(at, fmt.Sprintf("%s has %s only", spec.Name, count(len(spec.Labels), "label")), cure)
		}
	default:
		d.err(at, fmt.Sprintf("%s needs its %s", spec.Name, strings.ToLower(strings.Join(spec.Labels[len(n.labels):], " and "))), cure)
	}
	return false
}

func count(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (s *BlockSpec) attributeNames() []string {
	names := make([]string, len(s.Attributes))
	for i, a := range s.Attributes {
		names[i] = a.Name
	}
	return names
}

func (s *BlockSpec) blockNames() []string {
	names := make([]string, len(s.Blocks))
	for i, b := range s.Blocks {
		names[i] = b.Name
	}
	slices.Sort(names)
	return names
}

// unknownAttribute finds the likeliest reason for a name that the spec does not
// have.
func (d *decoder) unknownAttribute(b *Block, n *attributeNode) {
	spec, place := b.spec, b.where()
	if slices.Contains(spec.reserved, n.name) {
		d.reserved(n.pos, n.name)
		return
	}
	if inner := spec.block(n.name); inner != nil {
		d.err(n.pos, n.name+" is a block, not an attribute", "write "+skeleton(inner))
		return
	}
	names := append(spec.attributeNames(), spec.blockNames()...)
	if owner := d.owner(spec, n.name); owner != "" && !meansOneOf(n.name, spec.attributeNames()) {
		d.err(n.pos, fmt.Sprintf("%s has no attribute %s", place, Quote(n.name)), "it belongs into "+owner)
		return
	}
	if home := d.home(n.name); home != "" {
		d.err(n.pos, fmt.Sprintf("unknown attribute %s %s", Quote(n.name), in(spec, place)), n.name+" is a block, and "+home)
		return
	}
	if spec.hasModules() {
		d.err(n.pos, fmt.Sprintf("%s has no attribute %s", place, Quote(n.name)), moduleCure(n.name, spec))
		return
	}
	cure := DidYouMean(n.name, names)
	if cure == "" {
		cure = takes(spec)
	}
	d.err(n.pos, fmt.Sprintf("unknown attribute %s %s", Quote(n.name), in(spec, place)), cure)
}

// owner finds the inner block whose attribute was written one level too high. In
// a route the modules come first: every route has one.
func (d *decoder) owner(spec *BlockSpec, attribute string) string {
	var owners []string
	for _, module := range []bool{true, false} {
		for i := range spec.Blocks {
			if b := &spec.Blocks[i]; b.module == module && b.attribute(attribute) != nil {
				owners = append(owners, b.Name+" { }")
			}
		}
		if len(owners) > 0 {
			break
		}
	}
	if len(owners) > 3 {
		return ""
	}
	return orList(owners)
}

// home says where a block of that name may stand, "" when nowhere.
func (d *decoder) home(name string) string {
	if d.grammar == nil {
		return ""
	}
	var homes []string
	atTop := false
	var visit func(spec *BlockSpec)
	visit = func(spec *BlockSpec) {
		if spec.block(name) != nil {
			var labels []string
			for _, l := range spec.Labels {
				labels = append(labels, strings.ToUpper(l))
			}
			if atTop = atTop || spec.Name == ""; spec.Name != "" {
				homes = append(homes, where(spec, labels)+" { }")
			}
		}
		for i := range spec.Blocks {
			visit(&spec.Blocks[i])
		}
	}
	visit(d.grammar)
	switch {
	case atTop && len(homes) > 0:
		return "belongs to the top level or into " + orList(homes)
	case atTop:
		return "belongs to the top level"
	case len(homes) > 0:
		return "belongs into " + orList(homes)
	}
	return ""
}

func (d *decoder) reserved(at Position, name string) {
	d.err(at, name+" is not in this version", "remove it; the name is kept for a later one")
}

func (d *decoder) unknownBlock(b *Block, n *blockNode) {
	spec, place := b.spec, b.where()
	if slices.Contains(spec.reserved, n.name) {
		d.reserved(n.pos, n.name)
		return
	}
	if a := spec.attribute(n.name); a != nil {
		d.err(n.pos, n.name+" is an attribute, not a block", "write "+a.assignment())
		return
	}
	if home := d.home(n.name); home != "" {
		d.err(n.pos, fmt.Sprintf("%s may not stand %s", n.name, in(spec, place)), "it "+home)
		return
	}
	cure := DidYouMean(n.name, append(spec.blockNames(), spec.attributeNames()...))
	if likeliest := spec.block(closest(n.name, spec.blockNames())); spec.hasModules() && (likeliest == nil || likeliest.module) {
		d.err(n.pos, fmt.Sprintf("unknown module %s in %s", Quote(n.name), place), moduleCure(n.name, spec))
		d.broken[b] = true
		return
	}
	if cure == "" {
		cure = takes(spec)
	}
	d.err(n.pos, fmt.Sprintf("unknown block %s %s", Quote(n.name), in(spec, place)), cure)
}

// moduleCure lists the modules, the likeliest block first.
func moduleCure(name string, spec *BlockSpec) string {
	var modules []string
	for i := range spec.Blocks {
		if b := &spec.Blocks[i]; b.module {
			modules = append(modules, b.Name)
		}
	}
	slices.Sort(modules)
	list := "the modules are " + strings.Join(modules, ", ")
	mean := DidYouMean(name, spec.blockNames())
	switch likeliest := spec.block(closest(name, spec.blockNames())); {
	case likeliest == nil:
		return list
	case likeliest.module:
		return mean + " " + list
	}
	return mean
}

// takes lists what a block may hold.
func takes(spec *BlockSpec) string {
	var parts []string
	if names := spec.attributeNames(); len(names) > 0 {
		slices.Sort(names)
		parts = append(parts, "the attributes "+strings.Join(names, ", "))
	}
	if names := spec.blockNames(); len(names) > 0 {
		parts = append(parts, "the blocks "+strings.Join(names, ", "))
	}
	if len(parts) == 0 {
		return "remove it: nothing may stand there"
	}
	return "it may hold " + strings.Join(parts, " and ")
}

// skeleton shows how a block is written.
func skeleton(spec *BlockSpec) string {
	header := spec.Name
	for _, l := range spec.Labels {
		header += " " + Quote(strings.ToUpper(l))
	}
	if len(spec.Attributes) == 0 {
		return header + " { }"
	}
	a := &spec.Attributes[slices.IndexFunc(spec.Attributes, func(a Attribute) bool {
		return a.Required || !slices.ContainsFunc(spec.Attributes, func(a Attribute) bool { return a.Required })
	})]
	return header + " { " + a.assignment() + " }"
}

// byPlace orders nodes that come from maps.
func (n *bodyNode) byPlace() {
	slices.SortStableFunc(n.attributes, func(a, b attributeNode) int {
		return cmp.Or(cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.pos.Column, b.pos.Column))
	})
	for i := range n.blocks {
		n.blocks[i].body.byPlace()
	}
}
