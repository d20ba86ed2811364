package main

import (
	"slices"
)

// An attack is what every one of its connections does, until it or the server ends it.
type attack struct {
	name, about string
	// statuses that the server may answer with.
	statuses []int
	// owed says that the server may end a connection only after a final answer.
	owed bool
	// buffer is the size of the receive buffer in bytes, 0: the system's.
	buffer int
	run    func(c *client)
}

// smallBuffer makes the window of a slow reader as small as the kernel allows.
const smallBuffer = 4 << 10

// warmUp is no attack: it fills the pools of the server as ordinary clients do.
var warmUp = attack{
	name: "warm-up", about: "ordinary requests on all routes",
	statuses: []int{200}, run: ordinary,
}

var attacks = slices.Concat(connectionAttacks, headAttacks, bodyAttacks, answerAttacks)

func findAttack(name string) (*attack, bool) {
	if name == warmUp.name {
		return &warmUp, true
	}
	for i := range attacks {
		if attacks[i].name == name {
			return &attacks[i], true
		}
	}
	return nil, false
}
