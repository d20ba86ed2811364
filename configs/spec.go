package configs

import "slices"

// Type is the type of an attribute. In brackets: the Go type of its value, as
// [Attribute].Check gets it and as a default may be written.
type Type int

const (
	// String is text in double quotes [string].
	String Type = iota
	// Bool is true or false [bool].
	Bool
	// Int is a whole number [int].
	Int
	// Number is any number [float64].
	Number
	// Duration is text like "10s" or "1m30s", never negative [time.Duration;
	// a default may be written as text].
	Duration
	// Size is a count of bytes: a whole number, or text like "64KiB" (1024) or
	// "10MB" (1000) [int64; a default may be written as int or text].
	Size
	// Strings is a list of texts [[]string].
	Strings
	// Path is a file or directory; a relative one is made absolute against the
	// directory of the file that contains it, symbolic links unresolved
	// [string].
	Path
	// StringMap is a map from text to text [map[string]string].
	StringMap
)

// Attribute describes one "name = value" of a block.
type Attribute struct {
	Name string
	Type Type
	// Required attributes must be set; they have no default.
	Required bool
	// Default is the value when the attribute is not set. nil: none, the
	// accessors of [Block] then give the zero value and Has tells the cases
	// apart. A default that does not fit the type is a panic.
	Default any
	// OneOf, when not empty, lists the only values (of a String, or of an Int
	// in decimal).
	OneOf []string
	// Words are values with a name: {"auto": 0} lets an Int be written as
	// "auto" too, and has it dumped so.
	Words map[string]any
	// Min and Max bound an Int, Number, Duration or Size, both inclusive; nil:
	// no bound. They are written like a default.
	Min, Max any
	// Secret: the value is not shown in differences ([Diff]).
	Secret bool
	// Doc is one sentence for the reference.
	Doc string
	// Example is a value as it stands in a file, for cures; "": made from the
	// type and the default.
	Example string
	// Check refuses values that have the right type and are still wrong. Its
	// error may be a Problem, to give a cure. It runs for set values only, and
	// must be pure.
	Check func(v any) error
}

// BlockSpec describes a kind of block.
type BlockSpec struct {
	Name string
	// Labels names the quoted labels after the block's name, in order
	// (["NAME"]). All are required.
	Labels     []string
	Attributes []Attribute
	Blocks     []BlockSpec
	// Repeat allows the block more than once in its parent; two with equal
	// labels are refused still.
	Repeat bool
	Doc    string
	// Chores: the block's module has something to do once for the whole server,
	// in a process of its own (package child/module). Who links the module in
	// sets it.
	Chores bool
	// Check looks at the whole block. What it asks for is right: when it has
	// asked for an attribute that has a mistake, which is reported already, it
	// saw the default, and its answer is not used. It must be pure.
	Check func(b *Block) []Problem

	// reserved words are names of a later version, refused by that reason.
	reserved []string
	// module: the block is one of the modules of a route. Its parent holds one
	// of them, and has words of its own for that.
	module bool
	// equalLabels allows blocks with equal labels here: another rule, with
	// better words, decides.
	equalLabels bool
}

// Schema is what the rest of the program adds to the grammar.
type Schema struct {
	// Modules are the blocks that a route may hold. They may repeat a label
	// (function "hello" {}): a route holds exactly one.
	Modules []BlockSpec
	// Middleware are the blocks that a site and a route may hold around what
	// answers, each once in a place. They have no labels.
	Middleware []BlockSpec
	// RouteLimits describes limits {} inside a route; without attributes there
	// is none.
	RouteLimits BlockSpec
	// Limits and Workers describe the blocks of these names.
	Limits, Workers BlockSpec
	// Pattern checks the pattern of a route and gives its canonical key: equal
	// keys are the same pattern. The error may be a Problem. nil: every
	// pattern is its own key.
	Pattern func(pattern string) (key string, err error)
	// CodeRoutes are patterns registered in the program's code; they join the
	// default sites.
	CodeRoutes []CodeRoute
	// NoFile: the program may run without a configuration file; Resolve then
	// gives Default for empty Sources.
	NoFile bool
	// LookupUser and LookupGroup tell whether a user or group exists; nil asks
	// the system. They are the only look-ups of Resolve, and happen only for a
	// name that the configuration sets.
	LookupUser, LookupGroup func(name string) error
}

// CodeRoute is a route registered in code.
type CodeRoute struct {
	Pattern string
	Place   string // "main.go:12"
}

// hasModules tells whether the block is a route: the place of modules.
func (b *BlockSpec) hasModules() bool {
	return slices.ContainsFunc(b.Blocks, func(inner BlockSpec) bool { return inner.module })
}

func (b *BlockSpec) attribute(name string) *Attribute {
	for i := range b.Attributes {
		if b.Attributes[i].Name == name {
			return &b.Attributes[i]
		}
	}
	return nil
}

func (b *BlockSpec) block(name string) *BlockSpec {
	for i := range b.Blocks {
		if b.Blocks[i].Name == name {
			return &b.Blocks[i]
		}
	}
	return nil
}
