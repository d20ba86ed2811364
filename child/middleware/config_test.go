package middleware

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
	"github.com/tined/tined/configs"
)

// blocks resolves the lines of a site.
func blocks(t *testing.T, lines string) ([]*configs.Block, *configs.Config, configs.Diagnostics) {
	t.Helper()
	schema := &configs.Schema{Modules: []configs.BlockSpec{{Name: "anything"}}}
	for _, m := range All() {
		schema.Middleware = append(schema.Middleware, m.Spec())
	}
	text := "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n" + lines + "\n  route \"/\" {\n    anything {}\n  }\n}\n"
	config, diags := configs.Resolve(&configs.Sources{Path: "/t.hcl", Dir: "/", Files: []configs.Source{{Name: "t.hcl", Bytes: []byte(text)}}}, schema)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	return config.Sites[0].Middleware, config, diags
}

// wrap puts the blocks of a site around h, as a child does.
func wrap(t *testing.T, h web.Handler, lines string) web.Handler {
	t.Helper()
	list, _, diags := blocks(t, lines)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for _, b := range slices.Backward(list) {
		for _, m := range All() {
			if m.Spec().Name != b.Name() {
				continue
			}
			var err error
			if h, err = m.Wrap(h, b, &module.Env{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

// The blocks do what the functions do.
func TestBlocks(t *testing.T) {
	h := wrap(t, web.HandlerFunc(func(w *web.Response, r *web.Request) {
		switch r.Path {
		case "/panic":
			panic("gone wrong")
		case "/wait":
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "application/x-thing")
			w.SendString(text(600))
		}
	}), `
  request_id {
    header = "X-Trace"
    trust  = "anybody"
  }
  compress {
    codings   = ["br", "gzip"]
    min_bytes = 500
    types     = ["application/x-thing"]
    br_level  = 6
  }
  timeout {
    after  = "1ms"
    status = 504
  }
  recover {
    status       = 599
    body         = "Sorry."
    content_type = "text/x-sorry"
  }`)
	request := func(path string) *webtest.Response {
		return webtest.Do(h, webtest.Request{Target: path, Header: map[string]string{"Accept-Encoding": "zstd, br", "X-Trace": "abc"}})
	}
	if resp := request("/"); resp.Header.Get("Content-Encoding") != "br" || resp.Header.Get("X-Trace") != "abc" || decode(t, "br", resp.Body) != text(600) {
		t.Errorf("%v", resp.Header)
	}
	if resp := request("/panic"); resp.Status != 599 || resp.Text() != "Sorry." || resp.Header.Get("Content-Type") != "text/x-sorry" || resp.Header.Get("X-Trace") != "abc" {
		t.Errorf("%d %q %v", resp.Status, resp.Text(), resp.Header)
	}
	if resp := request("/wait"); resp.Status != 504 || resp.Header.Get("X-Trace") != "abc" {
		t.Errorf("%d %v", resp.Status, resp.Header)
	}
}

// The defaults of the blocks are those of the functions.
func TestDefaults(t *testing.T) {
	list, _, diags := blocks(t, "compress {}\n recover {}\n request_id {}\n timeout {\n after = \"2s\"\n }")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	inFile, inCode := compressOptions(list[0]), CompressOptions{}
	inCode.withDefaults()
	if !slices.Equal(inFile.Codings, inCode.Codings) || len(inFile.Types) > 0 {
		t.Errorf("%+v", inFile)
	}
	inFile.Codings, inCode.Codings, inFile.Types = nil, nil, nil
	if got, want := [...]int64{inFile.MinBytes, inFile.MaxFile, int64(inFile.GzipLevel), int64(inFile.BrotliLevel), int64(inFile.ZstdLevel), int64(inFile.Encoders)},
		[...]int64{inCode.MinBytes, inCode.MaxFile, int64(inCode.GzipLevel), int64(inCode.BrotliLevel), int64(inCode.ZstdLevel), int64(inCode.Encoders)}; got != want {
		t.Errorf("%v, in code %v", got, want)
	}
	if o := timeoutOptions(list[3]); o != (TimeoutOptions{2 * time.Second, 503}) {
		t.Errorf("%+v", o)
	}
	if o := requestIDOptions(list[2]); o != (RequestIDOptions{"X-Request-Id", TrustNobody}) {
		t.Errorf("%+v", o)
	}
	for _, h := range []web.Handler{
		wrap(t, web.HandlerFunc(func(*web.Response, *web.Request) { panic(1) }), "recover {}"),
		Recover(RecoverOptions{})(web.HandlerFunc(func(*web.Response, *web.Request) { panic(1) })),
	} {
		if resp := webtest.Get(h, "/"); resp.Status != 500 || resp.Text() != "Internal Server Error\n" {
			t.Errorf("%d %q", resp.Status, resp.Text())
		}
	}
}

func TestMistakes(t *testing.T) {
	for lines, want := range map[string]string{
		`compress { codings = ["brotli"] }`:       `t.hcl:5:23: there is no coding "brotli"; did you mean "br"?`,
		`compress { codings = ["gzip", "gzip"] }`: `"gzip" is there twice`,
		`compress { codings = [] }`:               `no coding is offered`,
		`compress { types = ["text"] }`:           `"text" is no media type`,
		`compress { br_level = 11 }`:              `br_level`,
		`request_id { header = "X Y" }`:           `"X Y" is no name for a field`,
		`request_id { header = "Connection" }`:    `"Connection" is no name for a field`,
		`request_id { trust = "proxy" }`:          `did you mean "proxies"?`,
		`timeout {}`:                              `timeout needs after`,
		`timeout { after = "0s" }`:                `after`,
		`recover { status = 404 }`:                `status`,
		"recover { content_type = \"a\\nb\" }":    `control characters`,
		`recover "x" {}`:                          `recover has no label`,
	} {
		_, _, diags := blocks(t, lines)
		if !diags.HasErrors() || !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: %v", lines, diags)
		}
	}
}

// docs/middleware.md has a section for each block, with a row for each attribute and its default, and examples that are right.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../../docs/middleware.md")
	if err != nil {
		t.Fatal(err)
	}
	_, config, diags := blocks(t, "compress {}\n recover {}\n request_id {}\n timeout {\n after = \"2s\"\n }")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for _, m := range All() {
		spec := m.Spec()
		_, section, found := strings.Cut(string(page), "\n## "+spec.Name+"\n")
		if !found {
			t.Errorf("no section on %s", spec.Name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		_, set, _ := strings.Cut(config.Dump(), "\n  "+spec.Name+" {\n")
		set, _, _ = strings.Cut(set, "\n  }")
		for _, a := range spec.Attributes {
			standard := "required"
			if line := regexp.MustCompile(`(?m)^ *` + a.Name + ` += (.*)$`).FindStringSubmatch(set); line != nil && !a.Required {
				standard = "`" + line[1] + "`"
			}
			if !regexp.MustCompile("(?m)^\\| `" + a.Name + "` \\| [^|]+ \\| " + regexp.QuoteMeta(standard) + " \\| .+ \\|$").MatchString(section) {
				t.Errorf("%s: no row for %s with the default %s", spec.Name, a.Name, standard)
			}
		}
	}
	for _, example := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if _, _, diags := blocks(t, example[1]); diags.HasErrors() {
			t.Errorf("%v in\n%s", diags, example[1])
		}
	}
}
