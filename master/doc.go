// Package master is the process that does everything that must happen once: it opens every shard
// and keeps it, starts the children and proves them, replaces those that die, writes the log,
// answers the operator on the control socket, and drains the whole at the end. It never reads HTTP
// from the network.
//
// One goroutine, the loop of master.go, owns all state. Everything else (a process's exit, its
// messages, a proof, a signal, an operator's request, the clock) reaches it as an event. Nothing
// in the loop blocks: messages to children that cannot leave at once go through an outbox, log lines through a queue.
//
//	master.go     Options, Run, the loop
//	start.go      configuration, then every check, then the opening: all or nothing
//	adopt.go      the children of a dead master: found, and asked what they hold
//	adopted.go    their lives, shards and values in this master's books
//	runtime.go    the runtime directory, the control socket, the children's own sockets
//	cores.go      how many children "auto" means
//	shards.go     listening sockets: opened once, lent, closed last
//	child.go      one life of a child, and its states
//	prove.go      the master's own request
//	supervise.go  what follows a child's end
//	lend.go       who holds which shard
//	reload.go     a new generation for all children, or for none
//	scale.go      more children, and fewer
//	restart.go    a successor for a child that serves
//	health.go     children that hang, or are too large
//	board.go      what the children count, and what is left of those that have ended
//	proc.go       the only file that starts or signals a process
//	goroutine.go  a child on a goroutine, for a single process
//	values.go     the texts that children share
//	workers.go    the numbers of workers that the operator has set
//	drain.go      the stop
//	operator.go   HTTP and JSON on the control socket; operator_client.go is its client
//	logsink.go    where lines end up
//	signals.go    what signals mean
//	systemd.go    the protocol of a supervisor; systemd_news.go what the loop tells it, systemd_sockets.go what comes from it,
//	              systemd_status.go the line for people
//
// It may import the standard library, netcore, netcore/control, netcore/board, configs, tableflip, zap and x/sys,
// never child.
package master
