package master

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tined/tined/netcore/control"
)

// The operator may set the level of the log of all processes. It holds until a reload is committed, for children that start later too:
// as the numbers of workers do.

// LogLevels are the levels, the loudest first.
var LogLevels = []string{"debug", "info", "warn", "error"}

// LogLevelRequest is the body of PUT /v1/log-level.
type LogLevelRequest struct {
	Level string `json:"level"`
}

// LogLevel is the answer to GET and PUT /v1/log-level.
type LogLevel struct {
	// Level is the one that holds, Configured what the configuration says.
	Level      string `json:"level"`
	Configured string `json:"configured"`
}

func (o *operator) logLevel(w http.ResponseWriter, r *http.Request) {
	if answer, ok := now(o, w, r, o.m.logLevelNow); ok {
		reply(w, http.StatusOK, answer)
	}
}

func (o *operator) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var request LogLevelRequest
	if !take(w, r, "log level", &request) {
		return
	}
	if err := CheckLogLevel(request.Level); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	by := peerIn(r.Context()).String()
	answer, ok := now(o, w, r, func() LogLevel {
		o.m.setLogLevel(request.Level, by)
		return o.m.logLevelNow()
	})
	if ok {
		reply(w, http.StatusOK, answer)
	}
}

// CheckLogLevel refuses a level that there is not.
func CheckLogLevel(level string) error {
	switch {
	case slices.Contains(LogLevels, level):
		return nil
	case level == "":
		return errors.New("log level: level is needed; write one of " + strings.Join(LogLevels, ", "))
	}
	return fmt.Errorf("log level: level cannot be %.40q; write one of %s", level, strings.Join(LogLevels, ", "))
}

func (m *master) logLevelNow() LogLevel {
	l := LogLevel{Level: m.level, Configured: m.config.Log.Level}
	if l.Level == "" {
		l.Level = l.Configured
	}
	return l
}

// setLogLevel sets the level of the master at once, and tells the children. Owner: the loop.
func (m *master) setLogLevel(level, by string) {
	var to zapcore.Level
	if err := to.UnmarshalText([]byte(level)); err != nil {
		panic("master: log level " + level) // it was checked
	}
	m.level = level
	quieter := to > m.sink.level.Level()
	note := func() { m.log.Info("the level of the log is set", zap.String("to", level), zap.String("by", by)) }
	if quieter { // while it still can be said
		note()
	}
	m.sink.level.SetLevel(to)
	if !quieter {
		note()
	}
	m.emit(EventLogLevel, nil, level+", by "+by)
	for c := range m.lives {
		if c.resizable() {
			m.sendLogLevel(c)
		}
	}
	if c := m.house.slot.current; c != nil && c.resizable() {
		m.sendLogLevel(c)
	}
}

// sendLogLevel tells a child that has committed its generation the level that the operator has set, if any.
func (m *master) sendLogLevel(c *child) {
	if m.level != "" {
		c.proc.Send(&control.LogLevel{Level: m.level})
	}
}
