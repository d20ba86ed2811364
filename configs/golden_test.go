package configs

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it under -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", file, got, want)
	}
}

// cases returns the configurations of a folder of testdata.
func cases(t *testing.T, folder string) []string {
	t.Helper()
	native, err := filepath.Glob(filepath.Join("testdata", folder, "*.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := filepath.Glob(filepath.Join("testdata", folder, "*.hcl.json"))
	if err != nil {
		t.Fatal(err)
	}
	return append(native, inJSON...)
}

func TestInvalid(t *testing.T) {
	files := cases(t, "invalid")
	if len(files) < 40 {
		t.Fatalf("only %d cases", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, diags := Resolve(sources(filepath.Base(file), string(text)), testSchema())
			if !diags.HasErrors() || config != nil {
				t.Fatal("it is accepted")
			}
			golden(t, strings.TrimSuffix(strings.TrimSuffix(file, ".json"), ".hcl")+".diag", diags.Error()+"\n")
		})
	}
}

func TestValid(t *testing.T) {
	for _, file := range cases(t, "valid") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, diags := Resolve(sources(filepath.Base(file), string(text)), testSchema())
			if diags.HasErrors() {
				t.Fatalf("refused:\n%v", diags)
			}
			view, err := json.MarshalIndent(struct {
				Config   any
				Warnings []string `json:",omitempty"`
			}{viewConfig(config), warnings(diags)}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(strings.TrimSuffix(file, ".json"), ".hcl")+".golden.json", string(view)+"\n")
			roundTrip(t, config)
		})
	}
}

// roundTrip checks that the dump means the same, and dumps to itself.
func roundTrip(t *testing.T, config *Config) {
	t.Helper()
	dump := config.Dump()
	again, diags := Resolve(sources("dump.hcl", dump), testSchema())
	if diags.HasErrors() {
		t.Fatalf("the dump is refused:\n%v\n%s", diags, dump)
	}
	if again.Digest != config.Digest {
		t.Errorf("the digest of the dump differs; dump:\n%s\nits dump:\n%s", dump, again.Dump())
	}
}

func warnings(diags Diagnostics) []string {
	var list []string
	for _, d := range diags {
		list = append(list, d.String())
	}
	return list
}

// viewConfig shows a configuration with the contents of its blocks, without the
// digest.
func viewConfig(c *Config) any {
	type listener struct {
		Name, Address string
		DualStack     bool `json:",omitempty"`
		Deferred      bool `json:",omitempty"`
		Backlog       int
		Mode          string   `json:",omitempty"`
		Trusted       []string `json:",omitempty"`
		ProxyProtocol bool     `json:",omitempty"`
		Pos           string
	}
	type route struct {
		Pattern    string
		Middleware []any `json:",omitempty"`
		Limits     any   `json:",omitempty"`
		Block      any   `json:",omitempty"`
		Pos        string
		Code       bool `json:",omitempty"`
	}
	type site struct {
		Name       string
		Hosts      []string `json:",omitempty"`
		Listeners  []string
		Default    bool       `json:",omitempty"`
		AccessLog  *AccessLog `json:",omitempty"`
		Middleware []any      `json:",omitempty"`
		Routes     []route
		Pos        string
	}
	view := struct {
		Path                        string
		Children, Procs             int
		Pin                         bool
		User, Group                 string
		Control, Runtime            string
		ControlMode                 string
		ControlOwner, ControlGroup  string `json:",omitempty"`
		DrainTimeout, OrphanTimeout string
		RetiredMost                 int
		RetiredTimeout, HangTimeout string
		MemoryLimit                 int64 `json:",omitempty"`
		Balance                     bool
		Upgrade                     string
		Poller                      string
		Trusted                     []string `json:",omitempty"`
		ForwardedField              string
		Log                         Log
		Limits, Workers             any
		Listeners                   []listener
		Sites                       []site
	}{
		Path: c.Path, Children: c.Children, Procs: c.Procs, Pin: c.Pin, User: c.User, Group: c.Group,
		Control: c.Control, Runtime: c.Runtime, DrainTimeout: c.DrainTimeout.String(),
		OrphanTimeout: c.OrphanTimeout.String(), Poller: c.Poller, Log: c.Log,
		Trusted: c.TrustedProxies.literals(), ForwardedField: c.ForwardedField,
		ControlMode: c.ControlMode.String(), ControlOwner: c.ControlOwner, ControlGroup: c.ControlGroup,
		RetiredMost: c.Retired.Most, RetiredTimeout: c.Retired.Timeout.String(),
		HangTimeout: c.Health.HangTimeout.String(), MemoryLimit: c.Health.MemoryLimit,
		Balance: c.Balance, Upgrade: fmt.Sprintf("%+v", c.Upgrade),
		Limits: viewBlock(c.Limits), Workers: viewBlock(c.Workers),
	}
	for _, l := range c.Listeners {
		v := listener{Name: l.Name, Address: l.Address.String(), DualStack: l.Address.DualStack, Deferred: l.Deferred, Backlog: l.Backlog, Pos: l.Pos.String()}
		if l.Address.Network == "unix" {
			v.Mode = l.Mode.String()
		}
		v.Trusted, v.ProxyProtocol = l.TrustedProxies.literals(), l.ProxyProtocol
		view.Listeners = append(view.Listeners, v)
	}
	for _, s := range c.Sites {
		v := site{Name: s.Name, Hosts: s.Hosts, Listeners: s.Listeners, Default: s.Default, AccessLog: s.AccessLog, Middleware: viewBlocks(s.Middleware), Pos: s.Pos.String()}
		for _, r := range s.Routes {
			v.Routes = append(v.Routes, route{Pattern: r.Pattern, Middleware: viewBlocks(r.Middleware), Limits: viewBlock(r.Limits), Block: viewBlock(r.Block), Pos: r.Pos.String(), Code: r.FromCode})
		}
		view.Sites = append(view.Sites, v)
	}
	return view
}

func viewBlocks(list []*Block) (view []any) {
	for _, b := range list {
		view = append(view, viewBlock(b))
	}
	return view
}

func viewBlock(b *Block) any {
	if b == nil {
		return nil
	}
	view := map[string]any{"": where(b.spec, b.labels)}
	for name, s := range b.values {
		view[name] = s.value
	}
	for _, inner := range b.blocks {
		view[inner.where()] = viewBlock(inner)
	}
	return view
}
