package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tined/tined/master"
)

// addHousekeeper writes what does the chores of modules, and how they are; nothing when there are none.
func addHousekeeper(b *strings.Builder, h *master.HousekeeperStatus) {
	if h == nil {
		return
	}
	table(b, "HOUSEKEEPER\tPID\tSTATE\tUPTIME\tRESTARTS\tLAST END", func(w io.Writer) {
		fmt.Fprintf(w, "\t%d\t%s\t%s\t%d\t%s\n", h.Pid, h.State, age(h.UptimeSeconds), h.Restarts, h.LastEnd)
	})
	if len(h.Chores) == 0 {
		return
	}
	table(b, "CHORE\tEVERY\tRUNS\tFAILED\tLAST START\tTOOK\tNEXT\tLAST ERROR", func(w io.Writer) {
		for _, c := range h.Chores {
			took, next := "-", clock(c.Next)
			if c.Runs > 0 {
				took = roughly(c.LastSeconds).String()
			}
			if c.Running {
				next = "running"
			}
			failure, _, _ := strings.Cut(c.LastError, "\n")
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n",
				c.Name, roughly(c.EverySeconds), c.Runs, c.Failed, clock(c.LastStart), took, next, cmp.Or(failure, "-"))
		}
	})
}

func roughly(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}
