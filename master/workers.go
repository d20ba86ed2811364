package master

import (
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

func (o *operator) workers(w http.ResponseWriter, r *http.Request) {
	if answer, ok := now(o, w, r, o.m.workersNow); ok {
		reply(w, http.StatusOK, answer)
	}
}

func (o *operator) setWorkers(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Min *int `json:"min"`
		Max *int `json:"max"`
	}
	if !take(w, r, "workers", &body) {
		return
	}
	if body.Min == nil || body.Max == nil {
		refuse(w, http.StatusBadRequest, `workers: both numbers are needed, such as {"min": 2, "max": 64}`)
		return
	}
	request := WorkersRequest{Min: *body.Min, Max: *body.Max}
	if err := request.Check(o.m.o.Schema.Workers); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	by := peerIn(r.Context()).String()
	type outcome struct {
		workers Workers
		late    int
	}
	end, ok := await(o, w, r, func(answer func(outcome)) {
		o.m.resize(request, by, func(late int) { answer(outcome{o.m.workersNow(), late}) })
	})
	switch {
	case !ok:
	case end.late > 0:
		refuse(w, http.StatusGatewayTimeout, fmt.Sprintf("workers: set, but %d of the children have not said so in time", end.late))
	default:
		reply(w, http.StatusOK, end.workers)
	}
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
func (m *master) resize(r WorkersRequest, by string, done func(late int)) {
	m.log.Info("the numbers of workers are set", zap.Int("min", r.Min), zap.Int("max", r.Max), zap.String("by", by))
	m.workers = &control.Resize{Min: r.Min, Max: r.Max}
	m.emit(EventWorkers, nil, fmt.Sprintf("%d to %d in each child, by %s", r.Min, r.Max, by))
	for c := range m.lives {
		if c.resizable() {
			m.sendWorkers(c)
		}
	}
	open := func(c *child) bool { return c.resizable() && c.unresized > 0 }
	m.inquire(m.bounds.resize, open, func() { done(m.count(open)) })
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
