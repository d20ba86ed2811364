// Package worker runs tasks on goroutines: Pool, an elastic set of workers behind
// one bounded queue, and Keyed, which runs the tasks of one key in turn.
//
// It knows nothing of requests and never logs; its clock is the runtime's: a timer
// that lets idle workers go, and how long a worker has been busy without a pause. It
// imports the standard library only.
//
//	pool := worker.New(worker.Options{Min: 1, Max: 64, Queue: 1024, Idle: 10 * time.Second})
//	defer pool.Close()
//	if !pool.Submit(&x.job) { // x.job.Task = x; x is a Task
//		// full: answer 503
//	}
//
// How a job reaches a worker was decided by measurement: docs/adr/0002-worker-pool.md;
// the rivals live on in scripts/lab.
package worker
