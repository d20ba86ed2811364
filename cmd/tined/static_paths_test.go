package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tined/tined/child/http1/http1test"
)

// What files are for: the text of each begins with one of these, and no answer may hold a text that its site is not to give away.
const (
	inside    = "INSIDE " // in the root, under a name that anybody may know
	concealed = "CONCEALED "
	linked    = "LINKED "    // outside of the root, and a symlink in it leads there
	secret    = "SECRET "    // outside, and nothing leads there
	protected = "PROTECTED " // in the root, and an access rule is for it
)

// plant makes a file and its directories; its text is its purpose and its name.
func plant(t *testing.T, dir, name, purpose string) {
	t.Helper()
	makeDir(t, filepath.Join(dir, filepath.Dir(name)))
	writeFile(t, filepath.Join(dir, name), []byte(purpose+name))
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

const steps = 40 // files that tell which question an answer is for

// plantTree makes the root www, its surroundings, and links of all kinds.
func plantTree(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"secret.txt", "www.txt", "wwwx/secret.txt", "ww/secret.txt", "www2/a.txt", ".htpasswd", "sub/secret.txt",
		"secret", "index.html", "dir/b.txt", "a.txt"} {
		plant(t, dir, name, secret)
	}
	for _, name := range []string{"linked/file.txt", "linked/deep/file.txt", "linked/index.html", "linked.txt"} {
		plant(t, dir, name, linked)
	}
	for _, name := range []string{"a.txt", "index.html", "dir/b.txt", "dir/index.html", "dir/sub/c.txt", ".well-known/w.txt",
		`back\slash.txt`, "semi;colon.txt", "per%cent.txt", "%2e%2e", "a%2fb.txt",
		"trailing.", "trailing ", "a..b", "~tilde", "plus+plus", "co:lon", "ünïcode/ö.txt", "...x/y", "empty dir/e.txt", "c:", "．．/z.txt",
		"%2e%2e%2fsecret.txt"} {
		purpose := inside
		if name[0] == '.' && !strings.HasPrefix(name, ".well-known/") {
			purpose = concealed
		}
		plant(t, filepath.Join(dir, "www"), name, purpose)
	}
	for _, name := range []string{".hidden", ".git/config", "dir/.env", "dir/.well-known/w.txt", ".well-known/.inner", "..double",
		".well-known2"} {
		plant(t, filepath.Join(dir, "www"), name, concealed)
	}
	for i := range steps {
		plant(t, filepath.Join(dir, "www"), fmt.Sprintf("step/%d", i), inside)
	}
	www := func(name string) string { return filepath.Join(dir, "www", name) }
	makeDir(t, www("bare"))
	link(t, "a.txt", www("in-rel"))
	link(t, www("a.txt"), www("in-abs"))
	link(t, "dir", www("in-dir"))
	link(t, www("dir"), www("in-absdir"))
	link(t, "in-dir/../a.txt", www("in-up"))
	link(t, "../in-rel", www("dir/in-chain"))
	link(t, ".", www("in-self"))
	link(t, "../linked.txt", www("out-rel"))
	link(t, filepath.Join(dir, "linked.txt"), www("out-abs"))
	link(t, "../linked", www("out-dir"))
	link(t, filepath.Join(dir, "linked"), www("out-absdir"))
	link(t, "out-rel", www("out-chain"))
	link(t, "in-dir/../../linked.txt", www("out-twist"))
	link(t, "../../linked.txt", www("dir/out-deep"))
	link(t, "nowhere", www("dangling"))
	link(t, "/nowhere/at/all", www("dangling-abs"))
	link(t, "loop", www("loop"))
	link(t, "loop-b", www("loop-a"))
	link(t, "loop-a", www("loop-b"))
	link(t, strings.Repeat("in-self/", 200)+"a.txt", www("in-long"))
}

var (
	dots = []string{"..", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%252e%252e", "%25252e%25252e", "%%32%65%%32%65", "%c0%ae%c0%ae", "%C0%AE.",
		"%e0%80%ae%e0%80%ae", "%f0%80%80%ae%f0%80%80%ae",
		"%c0%2e%c0%2e", "%uff0e%uff0e", "%u002e%u002e", "%ef%bc%8e%ef%bc%8e", "\xef\xbc\x8e\xef\xbc\x8e", "%e2%80%a5", "%e2%80%a6", "..;",
		"..;a=b", "..%3b", "..%00", "%00..", ".%00.", "..%20", "%20..", ".. ",
		"..%09", "..%0d%0a", "%0a..", "...", "....", "..%5c", `..\`, "..%ff", "..%2500", "..%c2%a0", "..%e2%80%8b", "%e2%80%8b..",
		"%ef%bb%bf..", "..~", "..:$DATA", "..::$INDEX_ALLOCATION", "..%23", "..%3f",
		"..#", "..?", ".", "%2e", "..%7f", "%2e%2e%00", "%2e%2e%00.txt", "%5c..", "..%e2%80%8d", "%fe%2e%fe%2e", "%2e\x00", "+.+.",
		"%d9%a0.", "%ae%ae"}
	slashes = []string{"/", "%2f", "%2F", "%5c", "%5C", `\`, "%252f", "%25252f", "%255c", "%c0%af", "%C0%AF", "%e0%80%af", "%f0%80%80%af",
		"%c1%9c", "%c1%1c", "%c0%2f", "%u2215", "%u2216", "%u002f", "%ef%bc%8f",
		"%e2%88%95", "%e2%81%84", "//", "/./", "/%2e/", "///", ";/", "%00/", "/%00", "%2f/", "/%2f", "%5c/", "%3b/", `/\`, `\/`, "/;/",
		"/%20/", "%0a/", "/.%00/", "?/", "/?", "/#/", "%%32%66", "%2%66"}
	starts = []string{"", "", "dir", "dir/sub", "a.txt", "nope", ".", "%2e", ".well-known", "in-dir", "in-self", "out-dir", ".git", "bare",
		"%2f", "..", "c:"}
	goals = []string{"secret.txt", "secret", "wwwx/secret.txt", "etc/passwd", "linked/file.txt", "tined.hcl", "www/a.txt", "a.txt",
		"index.html", ".htpasswd", ".hidden", ".git/config", ""}
)

// wrongPaths are made of everything above, by all pairs of a dot and a slash and by lot.
func wrongPaths(random *rand.Rand, n int) (paths []string) {
	one := func(list []string) string { return list[random.IntN(len(list))] }
	for _, dot := range dots {
		for _, slash := range slashes {
			paths = append(paths, "/"+one(starts)+slash+strings.Repeat(dot+slash, 1+random.IntN(4))+one(goals))
		}
	}
	for range n {
		path := "/" + one(starts)
		for range 1 + random.IntN(6) {
			path += one(slashes) + one(dots)
		}
		paths = append(paths, path+one(slashes)+one(goals))
	}
	// Each name that there is, in all those ways.
	for _, goal := range []string{"a.txt", "dir/b.txt", ".hidden", "out-rel", "out-dir/file.txt", "in-dir/b.txt", "dir/"} {
		for _, slash := range slashes {
			paths = append(paths, "/"+strings.ReplaceAll(goal, "/", slash), slash+goal, "/"+goal+slash)
		}
		for _, dot := range dots {
			paths = append(paths, "/"+goal+dot, "/"+goal+"/"+dot, "/"+dot+goal, "/"+dot+"/"+goal, "/"+strings.ReplaceAll(goal, ".", dot))
		}
	}
	return paths
}

// oddTargets are request targets as they stand in the request line. HOST is the site's host.
func oddTargets() []string {
	return []string{
		"/", "//", "///", "/.", "/./", "/..", "/../", "/...", "/%2e", "/%2f", "/%5c", "/%00", "/%", "/%2", "/%zz", "/%-1", "/%u0041",
		"/a.txt%", "/a.txt%2", "/a.txt%00", "/a.txt%00.html", "/a.txt%20", "/a.txt%0a",
		"/a.txt.", "/a.txt..", "/a.txt...", "/a.txt::$DATA", "/a.txt:stream", "/A.TXT", "/a.TXT", "/a~1.txt", "/a.txt;x", "/a.txt%3bx",
		"/a.txt/", "/a.txt//", "/a.txt/.", "/a.txt/..", "/a.txt/../../secret.txt",
		"/a.txt/b", "/a.txt?x=../secret.txt", "/a.txt?", "/a.txt??", "/a.txt?%", "/a.txt#x", "/a.txt%23x", "/a.txt%3fx", "/?", "/??",
		"/?/../secret.txt", "/dir", "/dir/", "/dir//", "/dir/.", "/dir?x=1", "/bare", "/bare/",
		"//dir", "//evil.example/dir", "//evil.example/dir/..", "//evil.example", `/\evil.example/dir`, "/%2f%2fevil.example/dir",
		"/%5cevil.example/dir", "/;/dir", "/./dir", "//dir/", "/.//dir", "/dir/sub", "/in-dir", "/out-dir",
		"//in-dir", "/in-self/in-self/dir", "/dir%0d%0aLocation:%20http:%2f%2fevil.example", "/dir%0d%0aX: y", "/dir%0aSet-Cookie:%20a=b",
		"/\xfc", "/%fc", "/\xc3\xbcn\xc3\xafcode/\xc3\xb6.txt", "/%c3%bcn%c3%afcode/%c3%b6.txt",
		"/con", "/aux.txt", "/nul", "/c:/windows/win.ini", "/c:%5cwindows", "C:\\boot.ini", "/~root/.profile", "/~", "/dev/stdin",
		"/proc/self/environ", "/etc/passwd", "//etc/passwd", "///etc/passwd", "////etc/passwd",
		"*", "a.txt", "../secret.txt", "..", ".", "?", "#", "", " ", "/ ", "/a.txt ", " /a.txt", "/a .txt", "\t/a.txt", "/\x01", "/\x7f",
		"/\x00", "/a.txt\x00", "/\r", "/a\rb", "/\v",
		"http://HOST/a.txt", "HTTP://HOST/a.txt", "http://HOST/../secret.txt", "http://HOST/%2e%2e/secret.txt", "http://HOST//dir",
		"http://HOST", "http://HOST?x", "http://HOST/", "http:///a.txt", "http:///etc/passwd",
		"http://HOST:80/a.txt", "http://user@HOST/a.txt", "http://user:pw@HOST/a.txt", "http://[::1]/a.txt", "http://HOST\\..\\secret.txt",
		"http:/a.txt", "http:a.txt", "file:///etc/passwd", "file:/etc/passwd", "ftp://HOST/a.txt",
		"https://HOST/a.txt", "HOST:80", "HOST", "//HOST/a.txt", "/HOST/a.txt", "/http://HOST/a.txt", "http://HOST/a.txt#x",
		"http://HOST/dir",
		"/" + strings.Repeat("a", 255), "/" + strings.Repeat("a", 256), "/" + strings.Repeat("a", 5000), "/" + strings.Repeat("%41", 5000),
		"/" + strings.Repeat("a/", 2000) + "x", "/" + strings.Repeat("a/", 7000),
		"/" + strings.Repeat("../", 4000) + "etc/passwd", "/" + strings.Repeat("%2e%2e/", 2000) + "etc/passwd",
		"/" + strings.Repeat("dir/../", 1000) + "a.txt", "/" + strings.Repeat("dir/../", 1000) + "../secret.txt",
		"/" + strings.Repeat("./", 4000) + "a.txt", strings.Repeat("/", 8000) + "a.txt", "/" + strings.Repeat("in-self/", 35) + "a.txt",
		"/" + strings.Repeat("in-self/", 45) + "a.txt", "/" + strings.Repeat("in-self/", 1500) + "a.txt",
		"/a.txt?" + strings.Repeat("x", 15000), "/a.txt?" + strings.Repeat("x", 17000), "/" + strings.Repeat("x", 70000),
		"/a.txt/" + strings.Repeat("../", 100) + "secret.txt", "/%25", "/per%25cent.txt", "/per%cent.txt", "/%252e%252e", "/a%252fb.txt",
		"/a%2fb.txt", "/back%5cslash.txt", `/back\slash.txt`, "/trailing.", "/trailing%20", "/trailing",
		"/.hidden", "/%2ehidden", "/.git/config", "/.git/", "/.git", "/dir/.env", "/dir/%2eenv", "/.well-known/w.txt",
		"/%2ewell-known/w.txt", "/.well-known/.inner", "/dir/.well-known/w.txt", "/.well-known", "/.well-known/", "/..double",
		"/.well-known2", "/in-self/.hidden", "/in-self/.well-known/w.txt", "/in-rel", "/in-abs", "/in-dir/b.txt", "/in-absdir/b.txt",
		"/in-up", "/dir/in-chain", "/in-dir/in-chain", "/in-long", "/out-rel", "/out-abs", "/out-dir/file.txt",
		"/out-dir/deep/file.txt", "/out-dir/", "/out-absdir/file.txt", "/out-chain", "/out-twist", "/dir/out-deep", "/dangling",
		"/dangling-abs", "/loop", "/loop-a", "/loop/x", "/out-dir/../secret.txt", "/in-dir/../../secret.txt",
	}
}

// tree is a static block and what it may give away.
type tree struct {
	host, prefix string
	symlinks     string
	hidden       bool
	loose        bool // there are further rules by which a name is found: only harm counts
	never        []string
	www          string
	mu           sync.Mutex
	given        map[string]int  // answers by status
	onward       map[string]bool // where redirects lead
}

// question is any GET: whatever comes, it may not be what must not, and for a plain path it is known.
func (s *tree) question(target string) question {
	text := strings.ReplaceAll(target, "HOST", s.host)
	want := s.expected(text)
	return question{"GET", request("GET", s.host, text), func(res *http1test.Response) error {
		s.mu.Lock()
		s.given[fmt.Sprint(res.Status)]++
		if location := res.Get("Location"); location != "" {
			s.onward[location] = true
		}
		s.mu.Unlock()
		if err := s.harmless(res); err != nil {
			return err
		}
		return want(res)
	}}
}

func (s *tree) harmless(res *http1test.Response) error {
	if res.Status >= 500 {
		return fmt.Errorf("%d", res.Status)
	}
	all := fmt.Sprintf("%q %s", res.Fields, res.Body)
	for _, text := range append(s.never, "root:x:0:", "daemon:") {
		if strings.Contains(all, text) {
			return fmt.Errorf("%d gives away %q", res.Status, cut(all))
		}
	}
	if res.Status == 200 && !bytes.HasPrefix(res.Body, []byte(inside)) && !bytes.HasPrefix(res.Body, []byte(linked)) &&
		!bytes.HasPrefix(res.Body, []byte(concealed)) {
		return fmt.Errorf("200 with %.80q", res.Body)
	}
	if location := res.Get("Location"); location != "" || res.Status/100 == 3 {
		at, err := url.Parse("http://" + s.host + "/")
		if err != nil {
			return err
		}
		to, err := at.Parse(location)
		if err != nil || to.Host != s.host || strings.HasPrefix(location, `/\`) || strings.HasPrefix(location, "//") || location == "" {
			return fmt.Errorf("%d to %q", res.Status, location)
		}
	}
	return nil
}

func anything(*http1test.Response) error { return nil }

const pathBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/" // RFC 3986, 3.3, without %

// expected is the documented meaning of a path: decoded once, segment by segment, names below the root. Targets that are no paths by the
// grammar, and paths with dots or nothing between their slashes, may be refused or understood, so long as they do no harm.
func (s *tree) expected(target string) func(*http1test.Response) error {
	path, query, _ := strings.Cut(target, "?")
	if _, err := url.PathUnescape(query); err != nil || strings.Trim(query, pathBytes+"?%") != "" {
		return anything // no query by the grammar
	}
	path, under := strings.CutPrefix(path, s.prefix)
	if s.loose || len(target) > 4000 || !strings.HasPrefix(path, "/") || !under {
		return anything
	}
	var names []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		name, err := url.PathUnescape(segment)
		if err != nil || strings.Trim(segment, pathBytes+"%") != "" || name == "." || name == ".." || name == "" && i < len(segments)-1 {
			return anything
		}
		names = append(names, name)
	}
	for i, name := range names {
		if strings.ContainsAny(name, "/\x00") || len(name) > 255 || strings.HasPrefix(name, ".") && !s.hidden && (i > 0 ||
			name != ".well-known") {
			return is(404)
		}
	}
	return s.found(names)
}

// found looks a name up as the documentation says, symlinks included.
func (s *tree) found(names []string) func(*http1test.Response) error {
	directory := names[len(names)-1] == ""
	at, links := s.www, 0
	for _, name := range names {
		if name == "" {
			break
		}
		at = filepath.Join(at, name)
		info, err := os.Lstat(at)
		if err != nil {
			return is(404)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			continue
		}
		if links++; links > 40 { // path_resolution(7)
			return anything
		}
		real, err := filepath.EvalSymlinks(at)
		out := err == nil && real != s.www && !strings.HasPrefix(real, s.www+"/")
		to, _ := os.Readlink(at)
		switch {
		case err != nil || s.symlinks == "refuse" || out && s.symlinks == "beneath":
			return either(is(404), is(403))
		case strings.Contains(to, "..") && s.symlinks == "beneath":
			// How far up it may go on its way is nowhere said, nor how long it may be.
			return anything
		case len(to) > 255:
			return anything
		}
		at = real
	}
	info, err := os.Stat(at)
	switch {
	case err != nil:
		return is(404)
	case info.IsDir() && directory:
		content, err := os.ReadFile(filepath.Join(at, "index.html"))
		if err != nil {
			return is(404)
		}
		return text(content)
	case info.IsDir():
		return is(307)
	case directory:
		return is(404)
	}
	content, err := os.ReadFile(at)
	if err != nil {
		return is(403)
	}
	return text(content)
}

func text(content []byte) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		if res.Status != 200 || !bytes.Equal(res.Body, content) {
			return fmt.Errorf("%d %q, not %q", res.Status, cut(string(res.Body)), content)
		}
		return nil
	}
}

// No spelling of a path reaches a file outside of the root, a hidden one, or one behind a link that is not followed; none is answered by an
// error of the server; and what is asked after it is answered as it should be.
func TestStaticPaths(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	plantTree(t, dir)
	www := filepath.Join(dir, "www")
	trees := []*tree{
		{host: "beneath", symlinks: "beneath", never: []string{secret, linked, concealed}},
		{host: "refuse", symlinks: "refuse", never: []string{secret, linked, concealed}},
		{host: "follow", symlinks: "follow", never: []string{secret, concealed}},
		{host: "hidden", symlinks: "beneath", hidden: true, never: []string{secret, linked}},
		{host: "prefixed", prefix: "/p", symlinks: "beneath", never: []string{secret, linked, concealed}},
		{host: "tries", symlinks: "beneath", loose: true, never: []string{secret, linked, concealed}},
		{host: "wild", prefix: "/w", symlinks: "beneath", never: []string{secret, linked, concealed}},
	}
	configuration := "# SECRET of the configuration\n"
	for _, s := range trees {
		s.www, s.given, s.onward = www, map[string]int{}, map[string]bool{}
		route := s.prefix + "/"
		if s.host == "wild" {
			route = "/w/{path...}"
		}
		more := ""
		if s.host == "tries" {
			more = `
      try           = ["{path}", "{path}/", "{path}.txt", "{path}txt", "/dir/"]
      precompressed = ["gzip", "br"]
      error "403" {
        file = "/a.txt"
      }
      fallback {
        file = "/dir/b.txt"
      }`
		}
		configuration += fmt.Sprintf(`
site %q {
  hosts = [%[1]q]
  route %q {
    static {
      root     = "www"
      symlinks = %q
      hidden   = %v%s
    }
  }
}
`, s.host, route, s.symlinks, s.hidden, more)
	}
	o := startOrigin(t, dir, configuration)
	random := rand.New(rand.NewPCG(3986, 6))
	total := 0
	for _, s := range trees {
		var questions []question
		add := func(target string) {
			questions = append(questions, s.question(target))
			i := len(questions) % steps
			questions = append(questions, question{"GET", request("GET", s.host, fmt.Sprintf("%s/step/%d", s.prefix, i)),
				text(fmt.Appendf(nil, "%sstep/%d", inside, i))})
		}
		paths := wrongPaths(random, 1000)
		if s.host != "beneath" { // the others get a part of them, each another
			random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
			paths = paths[:len(paths)/4]
		}
		for i, path := range append(oddTargets(), paths...) {
			switch {
			case !strings.HasPrefix(path, "/"):
				add(path)
			case s.prefix != "" && i%4 == 3:
				add("/." + s.prefix + path)
			default:
				add(s.prefix + path)
			}
		}
		o.ask(questions)
		t.Logf("%s: %d questions, answers %v, %d redirects", s.host, len(questions), s.given, len(s.onward))
		total += len(questions)
		questions = nil
		for _, target := range slices.Sorted(maps.Keys(s.onward)) {
			add(target)
		}
		o.ask(questions)
		total += len(questions)
		if s.given["200"] < 10 || s.given["404"] < 100 {
			t.Errorf("%s: %v", s.host, s.given)
		}
	}
	t.Logf("%d questions", total)
}

// No spelling of a path lets a PUT or a DELETE touch anything outside of the root, or make a hidden name in it.
func TestStaticWrittenPaths(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	plantTree(t, dir)
	www := filepath.Join(dir, "www")
	for _, name := range []string{"to-file", "to-new", "to-dir"} { // a link is replaced, and never written through
		link(t, map[string]string{"to-file": "../secret.txt", "to-new": "../made.txt", "to-dir": "../linked"}[name], filepath.Join(www,
			name))
	}
	o := startOrigin(t, dir, `
site "beneath" {
  route "/" {
    static {
      root = "www"
      access "all" {
        methods = ["PUT", "DELETE"]
        allow   = "all"
      }
      write {
        fsync              = false
        create_directories = true
      }
    }
  }
}
`)
	outside := func() map[string]string {
		state := map[string]string{}
		err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			switch {
			case err != nil || name == www || strings.HasPrefix(d.Name(), "control.sock"):
				if err == nil && d.IsDir() {
					return filepath.SkipDir
				}
				return err
			case d.Type().IsRegular():
				content, err := os.ReadFile(name)
				state[name] = string(content)
				return err
			}
			state[name] = d.Type().String()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	concealedNames := func() (names []string) {
		_ = filepath.WalkDir(www, func(name string, d os.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(d.Name(), ".") {
				names = append(names, strings.TrimPrefix(name, www))
			}
			return err
		})
		return names
	}
	before, hidden := outside(), concealedNames()
	random := rand.New(rand.NewPCG(5789, 2))
	targets := append(wrongPaths(random, 1000), oddTargets()...)
	targets = append(targets, "/to-file", "/to-new", "/to-dir/made.txt", "/to-dir/file.txt", "/out-dir/made.txt", "/out-absdir/made.txt",
		"/in-dir/made.txt", "/.well-known/made.txt", "/.well-known/../.made")
	random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	given := map[string]int{}
	var mu sync.Mutex
	var questions []question
	for i, target := range targets[:min(len(targets), 2500)] {
		target = strings.ReplaceAll(target, "HOST", "beneath")
		judge := func(res *http1test.Response) error {
			mu.Lock()
			given[fmt.Sprint(res.Status)]++
			mu.Unlock()
			if res.Status >= 500 {
				return fmt.Errorf("%d", res.Status)
			}
			return nil
		}
		method, wire := "PUT", request("PUT", "beneath", target, "Content-Length: 5")+"EVIL\n"
		if i%3 == 2 {
			method, wire = "DELETE", request("DELETE", "beneath", target)
		}
		questions = append(questions, question{method, wire, judge})
	}
	o.ask(questions)
	t.Logf("%d questions, answers %v", len(questions), given)
	if given["201"] < 20 || given["404"] < 50 {
		t.Errorf("answers %v", given)
	}
	if after := outside(); !maps.Equal(after, before) {
		for name := range after {
			if after[name] != before[name] {
				t.Errorf("%s was %q, is %q", name, before[name], after[name])
			}
		}
		t.Errorf("%d files became %d", len(before), len(after))
	}
	if after := concealedNames(); !slices.Equal(after, hidden) {
		t.Errorf("hidden names %q became %q", hidden, after)
	}
}

// spellings are ways to write a path: those that mean the same by RFC 3986, and those of which a server may believe it.
func spellings(random *rand.Rand, path string) (all []string) {
	encode := func(c byte, upper bool) string {
		if upper {
			return fmt.Sprintf("%%%02X", c)
		}
		return fmt.Sprintf("%%%02x", c)
	}
	// build writes path with those bytes encoded that which says.
	build := func(which func(i int) bool, upper bool) string {
		var b strings.Builder
		for i := range len(path) {
			c := path[i]
			switch {
			case c != '/' && (which(i) || !strings.ContainsRune(pathBytes, rune(c))):
				b.WriteString(encode(c, upper))
			default:
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	plain := build(func(int) bool { return false }, false)
	all = append(all, plain, build(func(int) bool { return true }, true), build(func(int) bool { return true }, false))
	for i := range len(path) {
		all = append(all, build(func(j int) bool { return i == j }, true), build(func(j int) bool { return i == j }, false),
			build(func(j int) bool { return i != j }, i%2 == 0))
	}
	for range 60 {
		mask := random.Uint64()
		all = append(all, build(func(i int) bool { return mask>>(i%64)&1 == 1 }, random.IntN(2) == 0))
	}
	for _, spelling := range []string{plain, build(func(int) bool { return true }, true)} {
		all = append(all, spelling+"?x", spelling+"?", spelling+"?/../a.txt", "http://HOST"+spelling, "HTTP://host"+spelling,
			"http://HOST:80"+spelling, spelling+"#x", spelling+";x", spelling+".", spelling+"%20", spelling+"%00",
			spelling+"%00.txt", spelling+"/", spelling+"/.", spelling+"//", spelling+"%2f", spelling+`\`, "/nope/.."+spelling,
			"/dir/.."+spelling, "/dir/%2e%2e"+spelling, "/a.txt/.."+spelling, "/in-self"+spelling, "/."+spelling, "/"+spelling,
			"//"+spelling, `\`+spelling, "/%2e"+spelling, "/%00"+spelling, "/%2f"+spelling, "/x%2f.."+spelling, "/;"+spelling,
			"/.;"+spelling, "/%20"+spelling, "/../www"+spelling, "/"+strings.Repeat("in-self/", 20)+spelling[1:])
		for _, slash := range slashes {
			all = append(all, "/"+strings.ReplaceAll(spelling[1:], "/", slash), strings.Replace(spelling, "/", slash, 1),
				spelling[:strings.LastIndex(spelling, "/")]+slash+spelling[strings.LastIndex(spelling, "/")+1:])
		}
	}
	all = append(all, strings.ToUpper(plain), "/"+strings.ToUpper(plain[1:2])+plain[2:], strings.ReplaceAll(plain, "%", "%25"),
		strings.ReplaceAll(build(func(int) bool { return true }, true), "%", "%25"),
		strings.ReplaceAll(plain, ".", "%c0%ae"), strings.ReplaceAll(plain, "s", "%c5%bf"), strings.ReplaceAll(plain, "k", "%e2%84%aa"),
		strings.ReplaceAll(plain, "s", "%uff53"), strings.ReplaceAll(plain, "e", "e%cc%81"))
	slices.Sort(all)
	return slices.Compact(all)
}

// Whatever spelling of a path reaches a file, the access rules for the file are for the spelling: they are found on a site without rules and
// asked for on one with them, by each method and condition.
func TestStaticProtectedPaths(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	const token = "not-a-secret-token"
	sum := sha256.Sum256([]byte(token))
	// By token or by nobody; with slash at the end: the index file in it.
	forNobody := []string{"/private/x.txt", "/private/deep/er/y.txt", "/private/", "/private/dir.d/", "/dump.sql", "/dir/dump.sql",
		"/dir/deep/.sql.sql", "/dir/secret1.txt", "/x/k5.txt", "/private/ü ö.txt", `/we"ird %41.sql`, "/private/back\\slash",
		"/private/100%.txt", "/only/this.txt", "/private/page", "/pages/closed", "/shut/", "/style.css"}
	forMembers := []string{"/members/m.txt", "/members/", "/members/a/b/c", "/members/ſharp.txt"}
	for _, path := range append(slices.Clone(forNobody), forMembers...) {
		name := path
		switch {
		case strings.HasSuffix(path, "/"):
			name += "index.html"
		case path == "/private/page" || path == "/pages/closed":
			name += ".html"
		}
		plant(t, www, name, protected)
	}
	plant(t, www, "a.txt", inside)
	plant(t, www, "dir/a.txt", inside)
	plant(t, www, "pages/open.html", inside)
	writeFile(t, filepath.Join(www, "style.css.gz"), []byte(protected))
	link(t, ".", filepath.Join(www, "in-self-denied"))
	static := `
      root          = "www"
      try           = ["{path}", "{path}/", "{path}.html"]
      precompressed = ["gzip"]
`
	o := startOrigin(t, dir, `
site "open" {
  hosts = ["open"]
  route "/" {
    static {`+static+`    }
  }
}
site "ruled" {
  hosts = ["ruled"]
  route "/" {
    static {`+static+`
      error "403" {
        file = "/a.txt"
      }
      fallback {
        file = "/pages/closed.html"
      }
      access "nobody" {
        paths = ["/private/**", "*.sql", "/dir/secret?.txt", "/{x,y}/k[0-9].txt", "/only/this.txt", "/pages/closed.html",
	"/shut/index.html", "*.css"]
        allow = "none"
      }
      access "members" {
        paths  = ["/members/"]
        tokens = ["sha256:`+hex.EncodeToString(sum[:])+`"]
      }
    }
  }
}
`)
	random := rand.New(rand.NewPCG(7617, 2))
	var (
		mu      sync.Mutex
		reached = map[string]string{} // target: tag
		search  []question
		all     = map[string]bool{}
	)
	for _, path := range append(slices.Clone(forNobody), forMembers...) {
		before := len(search)
		for _, target := range spellings(random, path) {
			all[target] = true
			search = append(search, question{"GET", request("GET", "open", strings.ReplaceAll(target, "HOST", "open")),
				func(res *http1test.Response) error {
					if res.Status >= 500 {
						return fmt.Errorf("%d", res.Status)
					}
					if bytes.Contains(res.Body, []byte(protected)) {
						mu.Lock()
						reached[target] = res.Get("ETag")
						mu.Unlock()
					}
					return nil
				}})
		}
		if len(search)-before < 150 {
			t.Errorf("%s: only %d spellings", path, len(search)-before)
		}
	}
	o.ask(search)
	if len(reached) < 10*len(forNobody) {
		t.Errorf("only %d spellings reach a file", len(reached))
	}
	refused := func(res *http1test.Response) error {
		if res.Status != 401 && res.Status != 403 || bytes.Contains(res.Body, []byte(protected)) || res.Fields.Has("Last-Modified") ||
			res.Fields.Has("Content-Range") {
			return fmt.Errorf("%d %q %q", res.Status, res.Fields, cut(string(res.Body)))
		}
		return nil
	}
	var questions []question
	for i, target := range slices.Sorted(maps.Keys(reached)) {
		tag, text := reached[target], strings.ReplaceAll(target, "HOST", "ruled")
		add := func(method string, judge func(*http1test.Response) error, lines ...string) {
			questions = append(questions, question{method, request(method, "ruled", text, lines...), judge})
		}
		add("GET", refused)
		add("HEAD", refused)
		lines := []string{"If-None-Match: " + tag, "If-Match: " + tag, `If-Match: "other"`, "If-None-Match: *", "Range: bytes=0-3",
			"Range: bytes=99999-", "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT",
			"If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT", "Accept-Encoding: gzip", "Accept-Encoding: identity;q=0, gzip",
			"Authorization: Bearer wrong", "Authorization: Bearer", "Authorization: Basic Og==", "Authorization: bearer " + token + "x",
			"X-Original-URL: /a.txt", "X-Rewrite-URL: /a.txt", "X-HTTP-Method-Override: HEAD", "X-Forwarded-For: 127.0.0.1"}
		for k := range 4 { // all of them in turn
			add("GET", refused, lines[(4*i+k)%len(lines)])
		}
		add("GET", refused, "Authorization: Bearer "+token, "Authorization: Bearer "+token)
		if strings.Contains(target, "?") || strings.Contains(target, "#") {
			continue
		}
		add("GET", func(res *http1test.Response) error {
			if res.Status == 403 || res.Status == 200 && bytes.HasPrefix(res.Body, []byte(protected+"/members/")) {
				return nil
			}
			return fmt.Errorf("with the token: %d %q", res.Status, cut(string(res.Body)))
		}, "Authorization: Bearer "+token)
	}
	// And those that reach nothing there do not reach it here.
	for _, target := range slices.Sorted(maps.Keys(all)) {
		questions = append(questions, question{"GET", request("GET", "ruled", strings.ReplaceAll(target, "HOST", "ruled")),
			func(res *http1test.Response) error {
				if res.Status >= 500 || bytes.Contains(res.Body, []byte(protected)) {
					return fmt.Errorf("%d %q", res.Status, cut(string(res.Body)))
				}
				return nil
			}})
	}
	// Whether a file is there is not told either.
	for _, target := range []string{"/private/nope", "/private/deep/nope/", "/private", "/private/deep", "/nope.sql", "/members/nope",
		"/members", "/x/k9.txt"} {
		questions = append(questions, question{"GET", request("GET", "ruled", target), refused})
	}
	for target, content := range map[string]string{"/a.txt": "a.txt", "/dir/a.txt": "dir/a.txt", "/pages/open": "pages/open.html"} {
		questions = append(questions, question{"GET", request("GET", "ruled", target), text([]byte(inside + content))})
	}
	questions = append(questions, question{"GET", request("GET", "ruled", "/members/m.txt", "Authorization: Bearer "+token),
		text([]byte(protected + "/members/m.txt"))})
	t.Logf("%d spellings, %d of them reach a file, %d questions", len(search), len(reached), len(search)+len(questions))
	o.ask(questions)
}
