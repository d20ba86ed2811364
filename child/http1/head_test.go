package http1

import "testing"

func TestMethods(t *testing.T) {
	safe := map[MethodID]bool{MethodGet: true, MethodHead: true, MethodOptions: true, MethodTrace: true}
	for id := MethodOther; id <= MethodPatch; id++ {
		if LookupMethod(id.String()) != id || id.Safe() != safe[id] {
			t.Errorf("%d %s: %v", id, id, id.Safe())
		}
	}
}

func TestHasBody(t *testing.T) {
	for _, c := range []struct {
		head Head
		want bool
	}{{Head{ContentLength: -1}, false}, {Head{ContentLength: 0}, false}, {Head{ContentLength: 1}, true}, {Head{ContentLength: -1, Chunked: true}, true}} {
		if c.head.HasBody() != c.want {
			t.Errorf("%+v", c.head)
		}
	}
}

// TestForbiddenTrailers: the list is lower case and fits its table; case in a name does not matter.
func TestForbiddenTrailers(t *testing.T) {
	for _, names := range forbiddenTrailers {
		for _, name := range names {
			if TrailerAllowed(name) || TrailerAllowed(string(name[0]-0x20)+name[1:]) {
				t.Errorf("%s is allowed", name)
			}
		}
	}
	for name, want := range map[string]bool{"Server-Timing": true, "content-DIGEST": true, "Content-Foo": true, "Expires": true, "content-LENGTH": false, "": false, "a b": false,
		"A-Name-That-Is-Longer-Than-All-Of-The-Table": true} {
		if TrailerAllowed(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
