package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	at := time.Unix(1000, 0)
	kills := []Kill{
		{At: at, Held: map[netip.AddrPort]bool{from(7): true}},
		{At: at.Add(10 * time.Second), Held: map[netip.AddrPort]bool{from(8): true}},
	}
	before, after := at.Add(-time.Second), at.Add(time.Second)
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, c := range map[string]struct {
		failure Failure
		want    Loss
	}{
		"held":                          {Failure{From: from(7), Begin: before, End: after, Err: reset}, LossHeld},
		"held, closed":                  {Failure{From: from(7), Begin: before, End: after, Err: errClosed}, LossHeld},
		"held by a child killed later":  {Failure{From: from(8), Begin: before, End: at.Add(11 * time.Second), Err: reset}, LossHeld},
		"not yet accepted":              {Failure{From: from(9), Begin: before, End: after, Err: reset}, LossReset},
		"closed":                        {Failure{From: from(9), Begin: before, End: after, Err: errClosed}, LossClosed},
		"the port's next connection":    {Failure{From: from(7), Begin: after, End: after.Add(time.Second), Err: reset}, LossReset},
		"the port's earlier connection": {Failure{From: from(7), Begin: before.Add(-time.Second), End: before, Err: reset}, LossReset},
		"refused":                       {Failure{From: from(0), Begin: before, End: after, Err: &net.OpError{Err: syscall.ECONNREFUSED}}, LossRefused},
		"closed while idle":             {Failure{From: from(9), Begin: before, End: after, Err: errClosedIdle}, LossIdle},
		"no patience left":              {Failure{From: from(9), Begin: before, End: after, Err: errTimeout}, LossTimeout},
		"too late":                      {Failure{From: from(9), Begin: before, End: after, Err: os.ErrDeadlineExceeded}, LossTimeout},
		"a wrong answer":                {Failure{From: from(9), Begin: before, End: after, Err: errors.New("answer: 500")}, LossWrong},
	} {
		if got := classify(c.failure, kills); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// from is a client's address.
func from(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}
