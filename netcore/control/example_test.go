package control_test

import (
	"fmt"
	"os"

	"github.com/tined/tined/netcore/control"
)

// A message with an open file beside it, from one end of a channel to the other.
func Example() {
	ours, theirs, err := control.Pair()
	if err != nil {
		panic(err)
	}
	defer ours.Close()
	child, err := control.New(theirs) // in the child: control.Inherited
	if err != nil {
		panic(err)
	}
	defer child.Close()

	sources, err := control.Seal("sources", []byte(`listen "main" {}`))
	if err != nil {
		panic(err)
	}
	defer sources.Close()
	if err := ours.Send(&control.Prepare{Generation: 1}, int(sources.Fd())); err != nil {
		panic(err)
	}

	m, files, err := child.Receive()
	if err != nil {
		panic(err)
	}
	defer func(f *os.File) { f.Close() }(files[0])
	text, err := control.ReadSealed(files[0])
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %d: %s\n", m.Kind(), m.(*control.Prepare).Generation, text)
	// Output: prepare 1: listen "main" {}
}
