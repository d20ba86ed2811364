package coding

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tined/tined/configs"
)

// CheckCodings returns what is wrong with the codings that the attribute at lists: names that are unknown, or there twice. An empty list
// is right here.
func CheckCodings(at string, listed []string) (problems []configs.Problem) {
	for i, name := range listed {
		switch {
		case !slices.Contains(names[Gzip:], name):
			cure := strings.TrimSpace(configs.DidYouMean(name, names[Gzip:]) + " the codings are br, gzip, zstd")
			problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: fmt.Sprintf("there is no coding %q", name), Cure: cure})
		case slices.Contains(listed[:i], name):
			problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: fmt.Sprintf("%q is there twice", name), Cure: "remove one of them"})
		}
	}
	return problems
}

// CheckTypes returns what is wrong with the media types that the attribute at lists, which are to be further types of Worth.
func CheckTypes(at string, listed []string) (problems []configs.Problem) {
	for i, t := range listed {
		if !ValidType(t) {
			problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: fmt.Sprintf("%q is no media type", t),
				Cure: `write for example "application/x-thing" or "application/*"`})
		}
	}
	return problems
}

// List returns the codings of these names, which CheckCodings has passed, in their order.
func List(listed []string) []Coding {
	list := make([]Coding, 0, len(listed))
	for _, name := range listed {
		if c, ok := Parse(name); ok {
			list = append(list, c)
		}
	}
	return list
}

// Types returns Worth's further types of a list that CheckTypes has passed.
func Types(listed []string) map[string]bool {
	types := make(map[string]bool, len(listed))
	for _, t := range listed {
		types[strings.ToLower(t)] = true
	}
	return types
}
