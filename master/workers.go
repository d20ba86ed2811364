package master

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// The operator may set the numbers of workers of all children. What is set holds until the configuration is committed anew, for children
// that start later too: each is told after its generation is committed, and before it accepts.

// WorkersRequest is the body of PUT /v1/workers: the numbers of each child. Both are needed.
type WorkersRequest struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Check holds the numbers against the bounds of the configuration's block.
func (r WorkersRequest) Check(workers configs.BlockSpec) error {
	_, err := configs.NewBlock(workers, map[string]any{"min": r.Min, "max": r.Max})
	return err
}

// Workers is the answer to GET and PUT /v1/workers.
type Workers struct {
	// Min and Max are what holds for each child.
	Min int `json:"min"`
	Max int `json:"max"`
	// ConfiguredMin and ConfiguredMax are what the configuration says.
	ConfiguredMin int `json:"configured_min"`
	ConfiguredMax int `json:"configured_max"`
}

// Configured reports whether the numbers are those of the configuration.
func (w *Workers) Configured() bool { return w.Min == w.ConfiguredMin && w.Max == w.ConfiguredMax }

func (o *operator) workers(w http.ResponseWriter, _ *http.Request) {
	var answer Workers
	if !o.m.do(func() { answer = o.m.workersNow() }) {
		reply(w, http.StatusServiceUnavailable, errorReply{"the master has stopped"})
		return
	}
	reply(w, http.StatusOK, answer)
}

func (o *operator) setWorkers(w http.ResponseWriter, r *http.Request) {
	request, err := o.takeWorkers(w, r)
	if err != nil {
		reply(w, http.StatusBadRequest, errorReply{err.Error()})
		return
	}
	type outcome struct {
		workers Workers
		late    int
	}
	answer := make(chan outcome, 1)
	done := o.m.do(func() {
		o.m.resize(request, func(late int) { answer <- outcome{o.m.workersNow(), late} })
	})
	if !done {
		reply(w, http.StatusServiceUnavailable, errorReply{"the master has stopped"})
		return
	}
	select {
	case a := <-answer:
		if a.late > 0 {
			reply(w, http.StatusGatewayTimeout, errorReply{fmt.Sprintf("workers: set, but %d of the children have not said so in time", a.late)})
			return
		}
		reply(w, http.StatusOK, a.workers)
	case <-o.m.done:
		reply(w, http.StatusServiceUnavailable, errorReply{"the master has stopped"})
	case <-r.Context().Done():
	}
}

// takeWorkers reads the body of PUT /v1/workers.
func (o *operator) takeWorkers(w http.ResponseWriter, r *http.Request) (WorkersRequest, error) {
	var body struct {
		Min *int `json:"min"`
		Max *int `json:"max"`
	}
	err := take(w, r, &body)
	wrongType, isType := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case isType && wrongType.Field != "":
		return WorkersRequest{}, fmt.Errorf("workers: %s must be a whole number, and is a %s", wrongType.Field, wrongType.Value)
	case err != nil:
		return WorkersRequest{}, fmt.Errorf("workers: %w", err)
	case body.Min == nil || body.Max == nil:
		return WorkersRequest{}, errors.New(`workers: both numbers are needed, such as {"min": 2, "max": 64}`)
	}
	request := WorkersRequest{Min: *body.Min, Max: *body.Max}
	return request, request.Check(o.m.o.Schema.Workers)
}

// workersNow are the numbers that hold.
func (m *master) workersNow() Workers {
	configured := m.config.Workers
	w := Workers{ConfiguredMin: configured.Int("min"), ConfiguredMax: configured.Int("max")}
	w.Min, w.Max = w.ConfiguredMin, w.ConfiguredMax
	if m.workers != nil {
		w.Min, w.Max = m.workers.Min, m.workers.Max
	}
	return w
}

// resize sets the numbers. done is called once the children have them, with the number of those that have not said so within the bound.
func (m *master) resize(r WorkersRequest, done func(late int)) {
	m.log.Info("the numbers of workers are set on the control socket", zap.Int("min", r.Min), zap.Int("max", r.Max))
	m.workers = &control.Resize{Min: r.Min, Max: r.Max}
	for c := range m.lives {
		if c.resizable() {
			m.sendWorkers(c)
		}
	}
	open := func(c *child) bool { return c.resizable() && c.unresized > 0 }
	m.inquire(m.bounds.resize, open, func() {
		late := 0
		for c := range m.lives {
			if open(c) {
				late++
			}
		}
		done(late)
	})
}

// resizable: it has committed its generation; one that has not is told when it has.
func (c *child) resizable() bool { return c.state >= Lending && c.state <= Draining }

// sendWorkers tells a child the numbers that the operator has set, if any.
func (m *master) sendWorkers(c *child) {
	if m.workers != nil {
		c.proc.Send(m.workers)
		c.unresized++
	}
}

func (m *master) resized(c *child) {
	if c.unresized == 0 {
		m.kill(c, "it has resized its workers without being asked")
		return
	}
	c.unresized--
	m.answerInquiries()
}
