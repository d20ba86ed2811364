package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	at := time.Unix(1000, 0)
	kills := []Kill{
		{At: at, Held: map[uint16]bool{7: true}},
		{At: at.Add(10 * time.Second), Held: map[uint16]bool{8: true}},
	}
	before, after := at.Add(-time.Second), at.Add(time.Second)
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, c := range map[string]struct {
		failure Failure
		want    Loss
	}{
		"held":                          {Failure{7, before, after, reset}, LossHeld},
		"held, closed":                  {Failure{7, before, after, errClosed}, LossHeld},
		"held by a child killed later":  {Failure{8, before, at.Add(11 * time.Second), reset}, LossHeld},
		"not yet accepted":              {Failure{9, before, after, reset}, LossReset},
		"closed":                        {Failure{9, before, after, errClosed}, LossReset},
		"the port's next connection":    {Failure{7, after, after.Add(time.Second), reset}, LossReset},
		"the port's earlier connection": {Failure{7, before.Add(-time.Second), before, reset}, LossReset},
		"refused":                       {Failure{0, before, after, &net.OpError{Err: syscall.ECONNREFUSED}}, LossRefused},
		"too late":                      {Failure{9, before, after, os.ErrDeadlineExceeded}, LossTimeout},
		"a wrong answer":                {Failure{9, before, after, errors.New("answer: 500")}, LossOther},
	} {
		if got := classify(c.failure, kills); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
