package netcore_test

import (
	"fmt"
	"time"

	"github.com/tined/tined/netcore"
)

// A connection's deadline moves at every request; the wheel is told, and asks nobody for the time.
func ExampleWheel() {
	wheel := netcore.NewWheel(int64(10*time.Millisecond), 0)
	idle := netcore.Timer{Key: 7}
	wheel.Schedule(&idle, int64(30*time.Second))
	wheel.Schedule(&idle, int64(60*time.Second)) // another request

	expire := func(t *netcore.Timer) { fmt.Println("connection", t.Key, "was idle for too long") }
	wheel.Advance(int64(30*time.Second), expire)
	fmt.Println("still there:", idle.Armed())
	wheel.Advance(int64(60*time.Second), expire)
	// Output:
	// still there: true
	// connection 7 was idle for too long
}

// A completion that comes late names a slot whose serial has moved on, and finds nothing.
func ExampleTable() {
	type conn struct{ name string }
	var table netcore.Table[conn]
	serial := table.Put(9, &conn{"first"})
	late := netcore.MakeToken(9, serial)
	table.Remove(9, serial)
	table.Put(9, &conn{"second"})

	fmt.Println(table.Get(netcore.SplitToken(late)) == nil)
	// Output: true
}

// The producer wakes the consumer only when Push says that it sleeps.
func ExampleQueue() {
	var queue netcore.Queue[string]
	fmt.Println("awake:", queue.Push("one"))
	done := queue.Take(nil)
	fmt.Println(done, queue.Sleep())
	fmt.Println("asleep:", queue.Push("two"))
	// Output:
	// awake: false
	// [one] true
	// asleep: true
}
