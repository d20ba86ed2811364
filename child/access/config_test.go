package access

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tined/tined/configs"
)

// resolve reads the lines of a block, in the third line of a file and those that follow.
func resolve(t *testing.T, lines string) (*configs.Block, configs.Diagnostics) {
	t.Helper()
	schema := &configs.Schema{
		Modules:    []configs.BlockSpec{{Name: "anything"}},
		Middleware: []configs.BlockSpec{{Name: "access", Attributes: Attributes(), Check: Check}},
	}
	text := "site \"main\" {\n  access {\n" + lines + "\n  }\n  route \"/\" {\n    anything {}\n  }\n}\nlisten \"main\" {\n  address = \"127.0.0.1:0\"\n}\n"
	config, diags := configs.Resolve(&configs.Sources{Path: "/etc/t.hcl", Dir: "/etc", Files: []configs.Source{{Name: "t.hcl", Bytes: []byte(text)}}}, schema)
	if diags.HasErrors() {
		return nil, diags
	}
	return config.Sites[0].Middleware[0], nil
}

func TestOptionsOf(t *testing.T) {
	item := itemOf("x")
	for _, c := range []struct {
		lines string
		want  Options
	}{
		{"", Options{Realm: "restricted"}},
		{`from = ["unix", "10.0.0.0/8"]`, Options{From: []string{"unix", "10.0.0.0/8"}, Realm: "restricted"}},
		{
			`users_file = "users"` + "\n" + `users = { "anna" = "` + hashOfSecret + `", "bob" = "` + hashOfOther + "\" }\nsatisfy = \"any\"\nfrom = [\"private\"]\nrealm = \"staff\"\ntokens = [\"" + item + "\"]",
			Options{
				From: []string{"private"}, Users: map[string]string{"anna": hashOfSecret, "bob": hashOfOther}, UsersFile: "/etc/users", Tokens: []string{item},
				Any: true, Realm: "staff",
			},
		},
	} {
		b, diags := resolve(t, c.lines)
		if diags != nil {
			t.Error(diags)
			continue
		}
		if got := OptionsOf(b); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	if b, _ := resolve(t, ""); !func() bool { o := OptionsOf(b); return o.None() }() {
		t.Error("an empty block has a rule")
	}
}

// Everything that is wrong is found before anything is loaded, at its place, and without telling what may be a secret.
func TestCheck(t *testing.T) {
	digits := itemOf("x")[len(tokenPrefix):]
	for _, c := range []struct {
		lines string
		want  []string
	}{
		{"from = []", []string{"t.hcl:3:8: from is empty"}},
		{`from = ["10.0.0.1/8", "private", "fe80::1%lo"]`, []string{`t.hcl:3:9: from: "10.0.0.1/8" names an address inside`, `t.hcl:3:34: from: "fe80::1%lo" is neither`}},
		{"users = {}", []string{"t.hcl:3:9: users is empty"}},
		{
			"\n" + `users = { "anna" = "plain", "a:b" = "` + hashOfSecret + `", "" = "x", "zoe" = "$apr1$lFOYPTwI$6Zv2Vd0sYw5kqcFzmxVJX1" }`,
			[]string{`t.hcl:4:9: users: a name is empty`, `the name "a:b" has a colon`, `the hash of "anna" is neither`, `the hash of "zoe" is one of MD5`},
		},
		{`users = { "anna" = "$2y$15$` + hashOfSecret[7:] + `" }`, []string{"has the bcrypt cost 15, and 4 to 14 are taken"}},
		{`users = { "a` + "\t" + `b" = "` + hashOfSecret + `" }`, []string{"control character"}},
		{"tokens = []", []string{"t.hcl:3:10: tokens is empty"}},
		{
			`tokens = ["` + itemOf("x") + `", "sha256:1234", "` + digits + `", "my-token", "` + itemOf("") + `"]`,
			[]string{"tokens: item 2 needs 64 hexadecimal digits", "tokens: item 3 does not say what it is", "tokens: item 4 is no digest", "tokens: item 5 is the digest of nothing"},
		},
		{`satisfy = "any"`, []string{`t.hcl:3:11: satisfy = "any" needs two kinds`}},
		{"from = [\"unix\"]\nsatisfy = \"any\"", []string{`t.hcl:4:11: satisfy = "any" needs two kinds`}},
		{"from = [\"unix\"]\nsatisfy = \"some\"", []string{`satisfy cannot be "some"`}},
		{`realm = "müsli"`, []string{"t.hcl:3:9: a realm is printable ASCII"}},
		{`realm = "` + strings.Repeat("x", 256) + `"`, []string{"a realm is"}},
	} {
		_, diags := resolve(t, c.lines)
		if len(diags) != len(c.want) {
			t.Errorf("%s: %v", c.lines, diags)
			continue
		}
		for i, d := range diags {
			if !strings.Contains(d.String(), c.want[i]) || d.Cure == "" {
				t.Errorf("%s: %s, want %q", c.lines, d, c.want[i])
			}
			for _, secret := range []string{"plain", "apr1$l", "my-token", digits} {
				if strings.Contains(d.String(), secret) {
					t.Errorf("the diagnostic tells a secret: %s", d)
				}
			}
		}
	}
	many := make([]string, maxTokens+1)
	for i := range many {
		many[i] = fmt.Sprintf("%q", itemOf(fmt.Sprint(i)))
	}
	if _, diags := resolve(t, "tokens = ["+strings.Join(many, ", ")+"]"); len(diags) != 1 || !strings.Contains(diags[0].Message, "257 items, and 256 is the most") {
		t.Error(diags)
	}
	if _, diags := resolve(t, "tokens = ["+strings.Join(many[1:], ", ")+"]"); diags != nil {
		t.Error(diags)
	}
}

// What Check finds nothing in, New takes: users_file aside they have one opinion.
func TestCheckAndNewAgree(t *testing.T) {
	b, diags := resolve(t, "from = [\"loopback\"]\nusers = { \"anna\" = \""+hashOfSecret+"\" }\nsatisfy = \"any\"")
	if diags != nil {
		t.Fatal(diags)
	}
	g, err := New(OptionsOf(b))
	if err != nil {
		t.Fatal(err)
	}
	if got := g.JudgeNow(request("127.0.0.1")); got != Granted {
		t.Error(got)
	}
}

func TestSecretsAreMarked(t *testing.T) {
	for _, a := range Attributes() {
		if secret := a.Name == "users" || a.Name == "tokens"; a.Secret != secret || a.Doc == "" {
			t.Errorf("%+v", a)
		}
	}
}
