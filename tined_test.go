//go:build linux

package tined

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/respond"
	"github.com/tined/tined/configs"
)

func answer(*Request) string { return "" }

// Routes come to the command line in their order, with the place that registered them.
func TestProgramGathersRoutes(t *testing.T) {
	p := New(Options{Name: "prog", Version: "1.2.3"})
	p.HandleFunc("GET /b/{x}", answer)
	p.Handle("/a", StringFunc(answer))
	p.Func("f", answer)
	p.FuncHandler("g", HTTP(http.NotFoundHandler()))
	got := p.start()
	if len(got.Code) != 2 || got.Code[0].Pattern != "GET /b/{x}" || got.Code[1].Pattern != "/a" {
		t.Fatalf("%+v", got.Code)
	}
	for _, r := range got.Code {
		if !strings.Contains(r.Place, "tined_test.go:") || r.Handler == nil {
			t.Errorf("%+v", r)
		}
	}
	if got.Name != "prog" || got.Version != "1.2.3" {
		t.Errorf("%+v", got)
	}
	if names := moduleNames(got.Modules); names != "function redirect respond static" {
		t.Errorf("modules: %s", names)
	}
	for name, known := range map[string]bool{"f": true, "g": true, "h": false} {
		if _, err := configs.NewBlock(got.Modules[0].Spec(), nil, name); (err == nil) != known {
			t.Errorf("function %q: %v", name, err)
		}
	}
}

// The functions of the package belong to one program.
func TestPackageProgram(t *testing.T) {
	defer func(before *Program) { program = before }(program)
	program = New(Options{})
	Handle("/a", StringFunc(answer))
	HandleFunc("/b", answer)
	Func("f", answer)
	FuncHandler("g", StringFunc(answer))
	got := program.start()
	if len(got.Code) != 2 || !strings.Contains(got.Code[0].Place, "tined_test.go:") || !strings.Contains(got.Code[1].Place, "tined_test.go:") {
		t.Errorf("%+v", got.Code)
	}
}

func shareMany(p *Program) {
	for i := range 100 {
		p.SharedValue(fmt.Sprint("v", i))
	}
}

type fake struct{ respond.Module }

func TestModulesAreReplacedByName(t *testing.T) {
	p := New(Options{Modules: []module.Module{fake{}}})
	got := p.start().Modules
	if names := moduleNames(got); names != "function redirect respond static" {
		t.Errorf("modules: %s", names)
	}
	if _, ok := got[2].(fake); !ok {
		t.Errorf("respond is %T", got[2])
	}
}

func moduleNames(modules []module.Module) string {
	var names []string
	for _, m := range modules {
		names = append(names, m.Spec().Name)
	}
	return strings.Join(names, " ")
}

func TestMistakesPanic(t *testing.T) {
	for want, mistake := range map[string]func(p *Program){
		"path":                        func(p *Program) { p.HandleFunc("GET", answer) },
		"names the host":              func(p *Program) { p.HandleFunc("example.com/", answer) },
		"is served already: \"/{a}\"": func(p *Program) { p.HandleFunc("/{a}", answer); p.HandleFunc("/{b}", answer) },
		"the handler of \"/\" is nil": func(p *Program) { p.Handle("/", nil) },
		"the handler of \"/f\" is":    func(p *Program) { p.HandleFunc("/f", nil) },
		"the http.Handler is nil":     func(p *Program) { p.Handle("/", HTTP(nil)) },
		"nil; for the handlers of ht": func(p *Program) { p.Handle("/", HTTP(http.HandlerFunc(nil))) },
		"name of a function is empty": func(p *Program) { p.Func("", answer) },
		"function \"f\" is nil":       func(p *Program) { p.Func("f", nil) },
		"a function \"f\" already":    func(p *Program) { p.Func("f", answer); p.Func("f", answer) },
		"register before it":          func(p *Program) { p.start(); p.Func("f", answer) },
		"the function of OnReady is":  func(p *Program) { p.OnReady(nil) },
		"OnMaster is nil":             func(p *Program) { p.OnMaster(nil) },
		"the shared name \"c\" is ta": func(p *Program) { p.SharedCounter("c"); p.SharedValue("c") },
		"tined_test.go:":              func(p *Program) { p.SharedValue("v"); p.SharedValue("v") },
		"and not of ' '":              func(p *Program) { p.SharedCounter("two words") },
		"a name has 1 to 64 bytes":    func(p *Program) { p.SharedValue("") },
		"more than 32 values":         func(p *Program) { shareMany(p) },
		"Main was called before":      func(p *Program) { p.start(); p.start() },
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				message := fmt.Sprint(recover())
				if !strings.Contains(message, want) || !strings.HasPrefix(message, "tined: ") {
					t.Errorf("%q", message)
				}
				if !strings.Contains(want, "Main was") && !strings.Contains(message, "tined_test.go:") {
					t.Errorf("the place is missing: %q", message)
				}
			}()
			mistake(New(Options{}))
		})
	}
}
