// Command sleeper is the server of `bench -blocked`: tined with two functions.
//
//	hello    answers at once
//	sleep    answers after as many seconds as ?seconds= says, or when its client goes: a handler that waits for something
package main

import (
	"strconv"
	"time"

	"github.com/tined/tined"
)

func main() {
	tined.Func("hello", func(*tined.Request) string { return "Hello, World!\n" })
	tined.FuncHandler("sleep", tined.HandlerFunc(sleep))
	tined.Main()
}

func sleep(w *tined.Response, r *tined.Request) {
	seconds, err := strconv.ParseFloat(r.QueryValue("seconds"), 64)
	if err != nil {
		tined.Error(w, 400)
		return
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	w.SendString("awake\n")
}
