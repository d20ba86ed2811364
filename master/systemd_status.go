package master

import (
	"fmt"
	"strconv"
	"strings"
)

// What `systemctl status` shows of a server, in one line.

const (
	maxStatusURLs = 3   // addresses in the line
	maxRefusal    = 200 // bytes of a refusal in it: the place and the beginning of a mistake
)

// startingStatus is the line before the start line.
func startingStatus(children int) string { return "starting " + plural(children, "child", "children") }

// servingStatus is the line of a server at work. children is how many serve, all how many there should be. refused is why the last reload
// changed nothing, "" when it did: that comes first, since somebody waits for it.
func servingStatus(urls []string, children, all int, generation uint64, connections int64, refused string) string {
	var more string
	if rest := len(urls) - maxStatusURLs; rest > 0 {
		urls, more = urls[:maxStatusURLs], fmt.Sprintf(" and %d more", rest)
	}
	with := plural(children, "child", "children")
	if children != all {
		with = fmt.Sprintf("%d of %s", children, plural(all, "child", "children"))
	}
	line := fmt.Sprintf("serving %s%s with %s, generation %d, %s",
		strings.Join(urls, ", "), more, with, generation, plural(int(connections), "connection", "connections"))
	if refused != "" {
		line = fmt.Sprintf("reload refused: %s; still %s", shorten(oneLine(refused), maxRefusal), line)
	}
	return line
}

// reloadingStatus is the line while a reload is under way.
func reloadingStatus(generation uint64) string {
	return fmt.Sprintf("reloading, generation %d still serves", generation)
}

// stoppingStatus is the line of a drain.
func stoppingStatus(connections int64) string {
	if connections == 0 {
		return "stopping"
	}
	return fmt.Sprintf("stopping: %s left", plural(int(connections), "connection", "connections"))
}

// refusedStatus is the line that stays behind a start that failed: the first line of what stderr has in full.
func refusedStatus(message string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return "start refused: " + shorten(oneLine(first), maxRefusal)
}

// plural is "1 child", "1,204 connections".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a number with commas between its thousands.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}
