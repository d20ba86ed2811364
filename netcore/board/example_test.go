package board_test

import (
	"fmt"

	"github.com/tined/tined/netcore/board"
)

// A program registers the same names in every process. The master makes the memory, a child, to which the file is passed, maps it.
func Example() {
	master, child := new(board.Shared), new(board.Shared)
	ofMaster, _ := master.Counter("visits") // the name is a good one
	ofChild, _ := child.Counter("visits")

	segment, err := master.Share()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer segment.Close()
	if err := child.Join(segment.File(), master.Counters(), nil, nil); err != nil {
		fmt.Println(err)
		return
	}
	ofChild.Add(2)
	fmt.Println(ofMaster.Add(1))
	// Output: 3
}
