package netcore

import "time"

// epoch is the zero of Now. It is set once, before main, and never changes.
var epoch = time.Now()

// Now is the monotonic time in nanoseconds since this process started. It is never zero, so that zero can mean "unset".
// Two processes have different zeros: never send such a number to another process. Any goroutine may call it.
func Now() int64 {
	return int64(time.Since(epoch)) + 1
}

// timeAt is the inverse of Now.
func timeAt(now int64) time.Time {
	return epoch.Add(time.Duration(now - 1))
}
