package worker_test

import (
	"fmt"

	"github.com/tined/tined/child/worker"
)

type exchange struct {
	job  worker.Job
	name string
	done chan string
}

func (x *exchange) Run() { x.done <- "hello, " + x.name }

func Example() {
	pool := worker.New(worker.Options{Min: 1, Max: 8, Queue: 64})
	defer pool.Close()

	x := &exchange{name: "tines", done: make(chan string, 1)}
	x.job.Task = x
	if !pool.Submit(&x.job) {
		fmt.Println("full")
		return
	}
	fmt.Println(<-x.done)
	// Output: hello, tines
}
