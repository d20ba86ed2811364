package configs_test

import (
	"fmt"

	"github.com/tined/tined/configs"
)

// A module describes its block; the mistakes in a file all come at once.
func ExampleResolve() {
	schema := &configs.Schema{Modules: []configs.BlockSpec{{
		Name: "greet",
		Attributes: []configs.Attribute{
			{Name: "name", Type: configs.String, Required: true},
			{Name: "pause", Type: configs.Duration, Default: "1s"},
		},
	}}}
	text := `
listen "main" {
  address = "8080"
}
site "main" {
  route "/" {
    greet { nam = "you", pause = 5 }
  }
}
`
	_, diags := configs.Resolve(&configs.Sources{
		Path: "/etc/tined/tined.hcl", Dir: "/etc/tined",
		Files: []configs.Source{{Name: "tined.hcl", Bytes: []byte(text)}},
	}, schema)
	fmt.Println(diags.Err())
	// Output:
	// tined.hcl:3:13: "8080" is a port without an address; write ":8080" for all addresses, or "127.0.0.1:8080"
	// tined.hcl:7:5: a block on one line holds at most one attribute; write it on several lines:
	//     greet {
	//       nam   = "you"
	//       pause = 5
	//     }
	// tined.hcl:7:13: unknown attribute "nam" in greet; did you mean "name"?
	// tined.hcl:7:34: pause is a duration and 5 has no unit; write pause = "5s" for seconds (units: ms, s, m, h)
}
