package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"
)

// redial is the pause after a connect that failed.
const redial = 50 * time.Millisecond

// attackReport is what `hostile attacker` prints.
type attackReport struct {
	Connections int64         `json:"connections"`
	Refused     int64         `json:"refused"` // connects that failed
	Sent        int64         `json:"sentBytes"`
	Received    int64         `json:"receivedBytes"`
	Answers     map[int]int64 `json:"answers"` // by status
	Closed      int64         `json:"closed"`  // by the server, in an orderly way
	Reset       int64         `json:"reset"`   // by the server
	Cheated     int64         `json:"cheated"` // ended by the server without the answer that was owed
}

// runAttacker is `hostile attacker`.
func runAttacker(args []string) error {
	flags := flag.NewFlagSet("attacker", flag.ExitOnError)
	address := flags.String("address", "", "server")
	name := flags.String("attack", "", "name of the attack")
	connections := flags.Int("connections", 300, "connections that are open at the same time")
	seconds := flags.Float64("seconds", 30, "how long")
	_ = flags.Parse(args)
	a, ok := findAttack(*name)
	if !ok {
		return fmt.Errorf("no attack %q", *name)
	}
	report := a.mount(*address, *connections, time.Duration(*seconds*float64(time.Second)))
	return json.NewEncoder(os.Stdout).Encode(report)
}

// mount runs the attack on n connections, each replaced by a new one when it is over.
func (a *attack) mount(address string, n int, duration time.Duration) attackReport {
	g := &gain{answers: make(map[int]int64)}
	until := time.Now().Add(duration)
	var all sync.WaitGroup
	for number := range n {
		all.Go(func() {
			for round := number; time.Now().Before(until); round++ {
				c, err := connect(address, number, a.buffer, until, g)
				if err != nil {
					time.Sleep(min(redial, time.Until(until)))
					continue
				}
				a.run(c)
				c.leave(round%2 == 0)
				if a.owed && c.ended.Load() && c.status.Load() < 200 {
					g.cheated.Add(1)
				}
			}
		})
	}
	all.Wait()
	return attackReport{
		Connections: g.connections.Load(), Refused: g.refused.Load(), Sent: g.sent.Load(), Received: g.received.Load(),
		Answers: g.answers, Closed: g.closed.Load(), Reset: g.reset.Load(), Cheated: g.cheated.Load(),
	}
}
