package configs

import "testing"

func TestHasChores(t *testing.T) {
	schema := &Schema{Modules: []BlockSpec{{Name: "sweeper", Chores: true}, {Name: "idler"}}, CodeRoutes: []CodeRoute{{Pattern: "/code"}}}
	for block, want := range map[string]bool{"sweeper": true, "idler": false} {
		text := "listen \"main\" {\n  address = \":80\"\n}\nsite \"a\" {}\nsite \"b\" {\n  hosts = [\"b\"]\n  route \"/\" {\n    " + block + " {}\n  }\n}\n"
		c, ds := Resolve(&Sources{Path: "/t.hcl", Files: []Source{{Name: "/t.hcl", Bytes: []byte(text)}}}, schema)
		if ds.HasErrors() {
			t.Fatal(ds)
		}
		if c.HasChores() != want {
			t.Errorf("%s: %v", block, c.HasChores())
		}
	}
}
