package rig

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEndTakesTheWholeTree(t *testing.T) {
	var c Crew
	// A program that ignores SIGTERM's usual effect on its children: they outlive it.
	p, err := c.Start(AnyCore, nil, "sh", "-c", "echo started; sleep 1000 & sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	var family []Member
	for deadline := time.Now().Add(10 * time.Second); len(family) < 3; family = Tree(p.Pid) {
		if time.Now().After(deadline) {
			t.Fatalf("tree: %+v", family)
		}
	}
	c.End()
	for _, m := range family {
		// A killed orphan is gone as soon as its new parent has reaped it.
		for deadline := time.Now().Add(10 * time.Second); m.alive(); {
			if time.Now().After(deadline) {
				t.Fatalf("%+v lives", m)
			}
		}
	}
	if !strings.Contains(p.Output(), "started") {
		t.Errorf("output: %q", p.Output())
	}
	if _, err := c.Start(AnyCore, nil, "true"); !errors.Is(err, ErrClosed) {
		t.Errorf("start after the end: %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var kept tail
	for range 3 * tailSize / 16 {
		if _, err := kept.Write([]byte("0123456789abcdef")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kept.Write([]byte("END")); err != nil {
		t.Fatal(err)
	}
	if s := kept.String(); len(s) != tailSize || !strings.HasSuffix(s, "END") {
		t.Errorf("%d bytes, ending in %q", len(s), s[len(s)-8:])
	}
}

func TestConfigs(t *testing.T) {
	site := Site{Root: "/srv/www", Deferred: true, Children: 2}
	for name, text := range map[string]string{
		"nginx": nginxConfig("127.0.0.1:8080", "/tmp/x", site),
		"tined": tinedConfig("127.0.0.1:8080", site),
	} {
		for _, want := range []string{"127.0.0.1:8080", "/srv/www", "deferred", Greeting} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
	}
	for copied, want := range map[bool]string{false: "sendfile on;", true: "sendfile off;"} {
		if text := nginxConfig("127.0.0.1:8080", "/tmp/x", Site{Copied: copied}); !strings.Contains(text, want) {
			t.Errorf("nginx: no %q in\n%s", want, text)
		}
	}
}
