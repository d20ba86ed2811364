package child

import (
	"regexp"
	"testing"
)

func TestCloseReasonsAreComplete(t *testing.T) {
	seen := make(map[string]closeReason)
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for r := range reasonCount {
		name := r.String()
		if !form.MatchString(name) {
			t.Errorf("reason %d is called %q", r, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("reasons %d and %d are both called %q", other, r, name)
		}
		seen[name] = r
	}
}
