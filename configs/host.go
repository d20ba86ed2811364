package configs

import (
	"fmt"
	"net/netip"
	"strings"
)

// parseHost checks a host of a site and brings it into the form that requests
// are compared in: lower case, without a trailing dot.
func parseHost(s string) (string, *Problem) {
	wrong := func(cure, format string, args ...any) (string, *Problem) {
		return "", &Problem{Message: fmt.Sprintf(format, args...), Cure: cure}
	}
	host := strings.ToLower(strings.TrimSuffix(s, "."))
	if scheme, rest, ok := strings.Cut(host, "://"); ok {
		rest, _, _ = strings.Cut(rest, "/")
		return wrong("write "+Quote(rest), "the host %s has the scheme %s", Quote(s), scheme)
	}
	if name, _, ok := strings.Cut(host, "/"); ok {
		return wrong(fmt.Sprintf("write %s, and the path in a route", Quote(name)), "the host %s has a path", Quote(s))
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if ip.Is6() {
			return "[" + ip.String() + "]", nil
		}
		return ip.String(), nil
	}
	if name, port, ok := strings.Cut(host, ":"); ok && name != "" && strings.Trim(port, "0123456789") == "" {
		return wrong(fmt.Sprintf("write %s; the port is chosen by listen", Quote(name)), "the host %s has a port", Quote(s))
	}
	switch {
	case host == "":
		return wrong("leave hosts out for the default site", "a host is empty")
	case host == "*":
		return wrong("leave hosts out: a site without hosts is the default site", `the host "*" is no name`)
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	if strings.Contains(name, "*") {
		return wrong(`write "*." before a whole name, like "*.example.org"`, "the * in %s does not stand for whole first labels", Quote(s))
	}
	if len(name) > 253 {
		return wrong("shorten it", "the host has %d characters, and a name has at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return wrong("remove the dot that is too many", "the host %s has an empty label", Quote(s))
		case len(label) > 63:
			return wrong("shorten it", "the label %s has more than 63 characters", Quote(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return wrong("remove the -", "a label of the host %s begins or ends with -", Quote(s))
		}
		for _, r := range label {
			if r >= 0x80 {
				return wrong(`write its ASCII form ("xn--...")`, "the host %s is not ASCII", Quote(s))
			}
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r) {
				return wrong("remove it", "the host %s holds %s", Quote(s), Quote(string(r)))
			}
		}
	}
	if wildcard {
		return "*." + name, nil
	}
	return name, nil
}
