package wire_test

import (
	"fmt"
	"io"
	"os"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
)

// A small answer is collected, a large one streamed.
func ExampleCollect() {
	columns := []engine.Column{{Name: "id"}, {Name: "name"}}
	rows := wire.NewTable(columns, [][]engine.Value{
		{engine.IntegerOf(1), engine.TextOf("tea")},
		{engine.IntegerOf(2), engine.BlobOf([]byte{0xff})},
	})
	format, _ := wire.Choose("application/x-ndjson, */*;q=0.1", wire.JSON, wire.NDJSON, wire.CSV)
	e := wire.NewEncoder(format, columns, wire.Options{})
	content, over, err := wire.Collect(nil, rows, e, 20)
	if err != nil {
		fmt.Println(string(wire.Problem(nil, engine.ErrorOf(err))))
		return
	}
	fmt.Println(len(content), over)
	if _, err := io.Copy(os.Stdout, wire.Stream(rows, e, content)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 22 false
	// {"id":1,"name":"tea"}
	// {"id":2,"name":{"$base64":"/w=="}}
	// {"$end":{"rows":2}}
}

func ExampleParseSets() {
	sets, array, err := wire.ParseSets([]byte(`[{"id": 9007199254740993}, {"id": true}]`), 100)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("array:", array)
	for _, set := range sets {
		value, err := set.Get("id").Value()
		fmt.Println(set.Get("id").Form, value.Int, err)
	}
	_, _, err = wire.ParseSets([]byte("{\"id\": 1,\n \"id\": 2}"), 100)
	fmt.Println(err)
	// Output:
	// array: true
	// an integer 9007199254740993 <nil>
	// a boolean 1 <nil>
	// request: line 2, column 2: the name "id" is there twice
}
