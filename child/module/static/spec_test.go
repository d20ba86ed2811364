package static

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/configs"
)

// resolve reads the block static with body, as a configuration of a server that has only this module.
func resolveBody(t *testing.T, body string) (*configs.Block, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tined.hcl")
	text := "listen \"main\" {\n  address = \"127.0.0.1:0\"\n}\nsite \"main\" {\n  route \"/\" {\n    static {\n" + body + "\n    }\n  }\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, problems := configs.Load(path, &configs.Schema{Modules: []configs.BlockSpec{Module{}.Spec()}})
	if len(problems) > 0 {
		return nil, problems.Error()
	}
	return c.Sites[0].Routes[0].Block, ""
}

func TestConfiguration(t *testing.T) {
	b, problems := resolveBody(t, `
	  root = "."
	  try = ["{path}", "{path}/", "{path}.html", "/", "/sub/", "/app.html"]
	  types = { ".foo" = "text/x-foo", "Dockerfile" = "text/plain" }
	  headers = { X-A = "1" }
	  hidden = true
	  nosniff = false
	  symlinks = "follow"
	  precompressed = ["br", "gzip"]
	  files "*.html" {
	    headers = { Cache-Control = "no-cache" }
	  }
	  files "/a/**" {
	    headers = { X-B = "2" }
	  }
	  compress {
	    codings = ["gzip"]
	    br_level = 11
	    cache = "2MiB"
	  }
	  listing {}
	  access "one" {
	    paths = ["/a/**"]
	    methods = ["PUT", "DELETE"]
	    from = ["10.0.0.0/8"]
	    tokens = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
	    satisfy = "any"
	  }
	  access "two" {
	    allow = "none"
	  }
	  write {
	    max_bytes = 10
	  }
	  error "404" {
	    file = "/404.html"
	    headers = { X-C = "3" }
	  }
	  error "500" {
	    file = "500.html"
	  }
	  fallback {
	    file = "/index.html"
	  }`)
	if problems != "" {
		t.Fatal(problems)
	}
	o := optionsOf(b)
	if len(o.try) != 6 || len(o.types) != 2 || o.headers["X-A"] != "1" || !o.hidden || o.nosniff || o.symlinks != linksFollow || len(o.precompressed) != 2 {
		t.Errorf("%+v", o)
	}
	if len(o.files) != 2 || o.files[0].pattern != "*.html" || o.files[1].headers["X-B"] != "2" {
		t.Errorf("files: %+v", o.files)
	}
	if c := o.compress; c == nil || len(c.codings) != 1 || c.levels.Brotli != 11 || c.cache != 2<<20 || c.directory != "" {
		t.Errorf("compress: %+v", o.compress)
	}
	if len(o.access) != 2 || o.access[0].name != "one" || !o.access[0].who.Any || o.access[1].allow != "none" || len(o.access[1].paths) != 1 {
		t.Errorf("access: %+v", o.access)
	}
	if len(o.pages) != 2 || o.pages[0].file != "404.html" || o.pages[0].status != 404 || o.pages[1].file != "500.html" || len(o.fallback) != 1 || o.fallback[0].status != 200 {
		t.Errorf("pages: %+v %+v", o.pages, o.fallback)
	}
	if o.listing == nil || o.write == nil {
		t.Error("listing or write is off")
	}
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
}

func TestConfigurationRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`try = ["x"]`:                           `"x" is nothing to try`,
		`try = ["{path}/x"]`:                    `"{path}/x" is nothing to try`,
		`try = ["/../x"]`:                       `"/../x" is nothing to try`,
		`try = ["/{path}"]`:                     `"/{path}" is nothing to try`,
		`types = { "a/b" = "text/plain" }`:      `"a/b" is no extension`,
		`types = { ".a" = "plain" }`:            `"plain" is no content type`,
		`types = { ".tar.gz" = "a/b" }`:         `write ".gz"`,
		`compress { max_file = 10 }`:            `nothing would be compressed`,
		`symlinks = "some"`:                     `symlinks`,
		`precompressed = ["lzma"]`:              `there is no coding "lzma"`,
		`precompressed = ["br", "br"]`:          `"br" is there twice`,
		`precompressed = ["brotli"]`:            `did you mean "br"?`,
		`types = { "*.foo" = "a/b" }`:           `write ".foo" for an extension`,
		`headers = { X-A = "1", x-a = "2" }`:    `X-A and x-a are the same field`,
		`files "\\.(js|css)$" { headers = {} }`: `looks like a regular expression`,
		"access \"a\" {\n allow = \"all\"\n}\naccess \"b\" {\n allow = \"none\"\n paths = [\"*.sql\"]\n}": `access "b" is never asked: access "a" before it`,
		"access \"a\" {\n allow = \"all\"\n methods = [\"put\"]\n}":                                       `write "PUT"`,
		`headers = { Content-Encoding = "br" }`:                                                           `Content-Encoding is written by static`,
		`files "[a" { headers = {} }`:                                                                     `a '[' without its ']'`,
		`files "a" { }`:                                                                                   `needs headers`,
		`files "a" { headers = { ETag = "1" } }`:                                                          `ETag is written by static`,
		`compress { codings = [] }`:                                                                       `no coding is offered`,
		`compress { codings = ["identity"] }`:                                                             `there is no coding "identity"`,
		`compress { br_level = 12 }`:                                                                      `br_level`,
		`compress { types = ["text"] }`:                                                                   `"text"`,
		`access "a" { }`:                                                                                  `access "a" does not say who may`,
		`access "a" { allow = "some" }`:                                                                   `allow`,
		"access \"a\" {\n allow = \"all\"\n from = [\"::1\"]\n}":                                          `allow says who may, and so do from`,
		"access \"a\" {\n allow = \"all\"\n methods = [\"POST\"]\n}":                                      `static knows no method "POST"`,
		"access \"a\" {\n allow = \"all\"\n paths = []\n}":                                                `an access block without paths`,
		"access \"a\" {\n allow = \"all\"\n paths = [\"a/**b\"]\n}":                                       `'**' has to stand between slashes`,
		`access "a" { tokens = ["secret"] }`:                                                              `tokens`,
		`write { }`:                                                                                       `nobody may write`,
		"write { }\naccess \"a\" {\n allow = \"all\"\n methods = [\"GET\"]\n}":                            `nobody may write`,
		`error "418" { file = "/x" }`:                                                                     `error "418" is not one of static's`,
		`error "404" { file = "/../x" }`:                                                                  `is no name of a file below the root`,
		`fallback { file = "" }`:                                                                          `is no name of a file below the root`,
	} {
		if _, problems := resolveBody(t, "root = \".\"\n"+body); !strings.Contains(problems, want) {
			t.Errorf("%s: %q, want %q", body, problems, want)
		}
	}
}
