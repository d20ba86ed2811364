package configs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Block is a decoded block: typed values by attribute name, defaults filled in.
// It is immutable. Asking for an attribute that its spec does not have, or by
// another type, is a mistake of the program and panics.
type Block struct {
	spec   *BlockSpec
	labels []string
	places []Position // of the labels; empty when the block is not from a file
	values map[string]setting
	blocks []*Block
	pos    Position
	read   map[string]bool // attributes that were asked for, while they are watched
}

// problems runs the spec's check. It knows nothing of what came out of it when it has asked for an attribute that is wrong, whose default
// stands in for it.
func (b *Block) problems(wrong map[string]bool) []Problem {
	watched := *b
	watched.read = make(map[string]bool)
	found := b.spec.Check(&watched)
	for name := range watched.read {
		if wrong[name] {
			return nil
		}
	}
	return found
}

// setting is one value of a block.
type setting struct {
	value any // in the Go type of the attribute's Type; never nil
	given bool
	pos   Position   // of the value
	name  Position   // of the attribute's name
	items []Position // of the items of a list
	lines []Position // of the lines of a text
}

// NewBlock makes a block as the engine would, from values in the Go types of
// the attributes; for defaults without a file and for the tests of modules.
// The values are checked; relative paths stay as they are.
func NewBlock(spec BlockSpec, values map[string]any, labels ...string) (*Block, error) {
	b := emptyBlock(&spec, labels)
	for name, v := range values {
		a := spec.attribute(name)
		if a == nil {
			return nil, fmt.Errorf("%s has no attribute %q", spec.Name, name)
		}
		value, err := a.native(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec.Name, err)
		}
		if p := a.check(value); p != nil {
			return nil, fmt.Errorf("%s: %w", spec.Name, *p)
		}
		b.values[name] = setting{value: value, given: true}
	}
	for _, a := range spec.Attributes {
		if a.Required && !b.Has(a.Name) {
			return nil, fmt.Errorf("%s needs %s", spec.Name, a.Name)
		}
	}
	if len(labels) != len(spec.Labels) {
		return nil, fmt.Errorf("%s needs %d labels, not %d", spec.Name, len(spec.Labels), len(labels))
	}
	if spec.Check != nil {
		for _, p := range spec.Check(b) {
			return nil, fmt.Errorf("%s: %w", spec.Name, p)
		}
	}
	return b, nil
}

// emptyBlock is a block in which nothing is set.
func emptyBlock(spec *BlockSpec, labels []string) *Block {
	b := &Block{spec: spec, labels: labels, values: make(map[string]setting, len(spec.Attributes))}
	for i := range spec.Attributes {
		a := &spec.Attributes[i]
		if a.Default == nil {
			continue
		}
		v, err := a.native(a.Default)
		if err != nil {
			panic(fmt.Sprintf("configs: default of %s.%s: %v", spec.Name, a.Name, err))
		}
		b.values[a.Name] = setting{value: v}
	}
	return b
}

// Name returns the name of the block's kind.
func (b *Block) Name() string { return b.spec.Name }

// Label returns the i-th label.
func (b *Block) Label(i int) string { return b.labels[i] }

// Has tells whether the file sets the attribute. Use it for attributes without
// a default: a dumped configuration sets all that have one.
func (b *Block) Has(attribute string) bool {
	b.mustHave(attribute)
	return b.values[attribute].given
}

// String returns a String.
func (b *Block) String(attribute string) string { return get[string](b, attribute, String) }

// Bool returns a Bool.
func (b *Block) Bool(attribute string) bool { return get[bool](b, attribute, Bool) }

// Int returns an Int.
func (b *Block) Int(attribute string) int { return get[int](b, attribute, Int) }

// Number returns a Number.
func (b *Block) Number(attribute string) float64 { return get[float64](b, attribute, Number) }

// Duration returns a Duration.
func (b *Block) Duration(attribute string) time.Duration {
	return get[time.Duration](b, attribute, Duration)
}

// Size returns a Size, in bytes.
func (b *Block) Size(attribute string) int64 { return get[int64](b, attribute, Size) }

// Strings returns a list. The caller must not change it.
func (b *Block) Strings(attribute string) []string { return get[[]string](b, attribute, Strings) }

// Path returns an absolute path, or a word of the attribute's Words.
func (b *Block) Path(attribute string) string { return get[string](b, attribute, Path) }

// StringMap returns a map. The caller must not change it.
func (b *Block) StringMap(attribute string) map[string]string {
	return get[map[string]string](b, attribute, StringMap)
}

// Blocks returns the inner blocks of that name, in the order of the file.
func (b *Block) Blocks(name string) []*Block {
	if b.spec.block(name) == nil {
		panic("configs: " + b.spec.Name + " has no block " + strconv.Quote(name))
	}
	var found []*Block
	for _, inner := range b.blocks {
		if inner.spec.Name == name {
			found = append(found, inner)
		}
	}
	return found
}

// Block returns the inner block of that name, nil when it is absent.
func (b *Block) Block(name string) *Block {
	if found := b.Blocks(name); len(found) > 0 {
		return found[0]
	}
	return nil
}

// Pos returns the place of an attribute's value; of the block when the name is
// "" or the attribute is not set.
func (b *Block) Pos(attribute string) Position {
	if attribute != "" && b.Has(attribute) {
		return b.values[attribute].pos
	}
	return b.pos
}

// PosIn returns the place of a byte of a String's text, counted from 0, such as that of a mistake in a statement of another language. In a text
// with escapes it is too far left by their length; in the JSON syntax it is the place of the value.
func (b *Block) PosIn(attribute string, offset int) Position {
	pos, text := b.Pos(attribute), b.String(attribute)
	lines := b.values[attribute].lines
	if !b.Has(attribute) || len(lines) == 0 {
		return pos
	}
	before := text[:min(max(offset, 0), len(strings.TrimSuffix(text, "\n")))]
	line := strings.Count(before, "\n")
	begin := strings.LastIndexByte(before, '\n') + 1
	pos = lines[line]
	pos.Column += utf8.RuneCountInString(before[begin:])
	return pos
}

// itemPos returns the place of an item of a list.
func (b *Block) itemPos(attribute string, i int) Position {
	if items := b.values[attribute].items; i < len(items) {
		return items[i]
	}
	return b.Pos(attribute)
}

// labelPos returns the place of a label, or of the block.
func (b *Block) labelPos(i int) Position {
	if i < len(b.places) {
		return b.places[i]
	}
	return b.pos
}

func (b *Block) mustHave(attribute string) *Attribute {
	if b.read != nil {
		b.read[attribute] = true
	}
	a := b.spec.attribute(attribute)
	if a == nil {
		panic("configs: " + b.spec.Name + " has no attribute " + strconv.Quote(attribute))
	}
	return a
}

func get[T any](b *Block, attribute string, t Type) T {
	if a := b.mustHave(attribute); a.Type != t {
		panic(fmt.Sprintf("configs: %s.%s is not %s", b.spec.Name, attribute, t.noun()))
	}
	v, _ := b.values[attribute].value.(T)
	return v
}
