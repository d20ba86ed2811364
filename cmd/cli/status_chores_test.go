package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/master"
)

func TestStatusShowsChores(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	s := &master.Status{Housekeeper: &master.HousekeeperStatus{Pid: 815, State: "serving", UptimeSeconds: 61, Chores: []master.ChoreStatus{
		{Name: "sqlite main /db/ checkpoint", EverySeconds: 60, Runs: 3, Failed: 1, LastStart: at, LastSeconds: 0.0124, LastError: "disk full\nand more",
			Next: at.Add(time.Minute)},
		{Name: "sqlite main /db/ backup", EverySeconds: 86400, Running: true, LastStart: at},
	}}}
	want := `
HOUSEKEEPER  PID  STATE    UPTIME  RESTARTS  LAST END
             815  serving  1m1s    0

CHORE                        EVERY    RUNS  FAILED  LAST START           TOOK  NEXT                 LAST ERROR
sqlite main /db/ checkpoint  1m0s     3     1       2026-03-01 12:00:00  12ms  2026-03-01 12:01:00  disk full
sqlite main /db/ backup      24h0m0s  0     0       2026-03-01 12:00:00  -     running              -
`
	if text := statusText("prog", s); !strings.HasSuffix(text, want) {
		t.Errorf("%s\nwant at its end\n%s", text, want)
	}
	if text := statusText("prog", new(master.Status)); strings.Contains(text, "CHORE") || strings.Contains(text, "HOUSEKEEPER") {
		t.Error(text)
	}
}
