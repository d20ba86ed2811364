package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/http1/http1test"
)

// unprivileged makes the children give up root, which may read everything.
func unprivileged(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return ""
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("it runs as root, and there is no user nobody")
	}
	return fmt.Sprintf("user = %q\n", nobody.Username)
}

func percent(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

// What is no regular file, and what the children's user may not read, is refused, at once, by every method and with every condition.
func TestStaticSpecialFiles(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	at := func(name string) string { return filepath.Join(www, name) }
	for _, name := range []string{"ok.txt", "unreadable.txt", "closed/f.txt", "closed/index.html", "unlisted/f.txt", "unlisted/index.html",
		"fifo-index/f.txt", "written.txt", "run.sh"} {
		plant(t, www, name, inside)
	}
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o666), unix.Mkfifo(at("fifo-index/index.html"), 0o666), unix.Mkfifo(at("ok.txt.gz"),
		0o666)); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	refusals := []string{"fifo", "socket", "fifo-index/", "unreadable.txt", "closed/f.txt", "closed/", "link-fifo", "link-unreadable",
		"writeonly.txt"}
	found := []string{"ok.txt", "unlisted/f.txt", "run.sh", "fifo-index/f.txt"}
	if os.Geteuid() == 0 {
		for name, device := range map[string][2]uint32{"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "kmsg": {1, 11}, "tty": {5, 0}} {
			if err := unix.Mknod(at(name), unix.S_IFCHR|0o666, int(unix.Mkdev(device[0],
				device[1]))); err == nil { // not in every container
				refusals = append(refusals, name)
			}
		}
		if err := unix.Mknod(at("disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))); err == nil {
			refusals = append(refusals, "disk")
		}
	}
	link(t, "fifo", at("link-fifo"))
	link(t, "unreadable.txt", at("link-unreadable"))
	plant(t, www, "writeonly.txt", inside)
	for name, mode := range map[string]os.FileMode{"unreadable.txt": 0, "writeonly.txt": 0o222, "closed": 0o644, "unlisted": 0o711,
		"run.sh": 0o6755} {
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(at(name), 0o755) })
	}
	o := startOrigin(t, dir, unprivileged(t)+`
site "main" {
  route "/" {
    static {
      root          = "www"
      precompressed = ["gzip"]
      try           = ["{path}", "{path}/"]
    }
  }
  route "/plain/" {
    static { root = "www" }
  }
}
`)
	var questions []question
	for _, prefix := range []string{"/", "/plain/"} {
		for _, name := range refusals {
			for _, lines := range [][]string{nil, {"Range: bytes=0-3"}, {"Range: bytes=0-"}, {`If-Match: "x"`}, {"If-None-Match: *"},
				{"Accept-Encoding: gzip"}, {"If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT"}} {
				for _, method := range []string{"GET", "HEAD"} {
					questions = append(questions, question{method, request(method, "main", prefix+name, lines...),
						func(res *http1test.Response) error {
							// A directory whose only index file is none may have none. (With try, what is refused may be passed over.)
							if res.Status != 403 && !(res.Status == 404 && (prefix == "/" || strings.HasSuffix(name, "/"))) ||
								bytes.Contains(res.Body, []byte(inside)) || res.Fields.Has("ETag") {
								return fmt.Errorf("%d %q %q", res.Status, res.Fields, cut(string(res.Body)))
							}
							return nil
						}})
				}
			}
		}
		for _, name := range found {
			questions = append(questions, question{"GET", request("GET", "main", prefix+name, "Accept-Encoding: gzip"),
				text([]byte(inside + name))})
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "FOO"} {
			for _, name := range []string{"ok.txt", "nope", "fifo"} {
				questions = append(questions, question{method, request(method, "main", prefix+name, "Content-Length: 0"),
					func(res *http1test.Response) error {
						if allow := res.Get("Allow"); res.Status == 405 && strings.Contains(allow, "GET") && strings.Contains(allow, "HEAD") ||
							res.Status == 501 || res.Status == 400 {
							return nil
						}
						return fmt.Errorf("%d, Allow %q", res.Status, res.Get("Allow"))
					}})
			}
		}
	}
	t.Logf("%d questions", len(questions))
	o.ask(questions)
}

// Every name that a file can have is its own percent-encoding, and no other file's.
func TestStaticNames(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	makeDir(t, www)
	names := map[string]bool{}
	for c := 1; c < 256; c++ {
		if c == '/' {
			continue
		}
		b := string([]byte{byte(c)})
		for _, name := range []string{b, "x" + b, b + "x", "a" + b + "b.txt", "dir" + b + "/f" + b, b + b + b, "%" + fmt.Sprintf("%02x", c),
			"t" + b + ".css"} {
			if name != "." && name != ".." {
				names[name] = true
			}
		}
	}
	for _, name := range []string{strings.Repeat("n", 255), strings.Repeat("\xff", 255), "%00", "%2f", "%2e%2e", "a%2fb", "...", "..x",
		"....", "e\u0301", "\u00e9", "\ufeffbom", "\u202egnp.exe", "-rf", "*", "?", "[a]", "{a,b}", "**", "$(id)", "`id`", "|x",
		"a\r\nX: y", "a\r\n\r\nb", "index.html", "CON", "aux.txt", "nul", "a:b", ".tined-upload", "desktop.ini", "İ", "ß", "ſ", "K",
		"\u2044", "a.tar.gz", "a.", ".htaccess", "a.css.gz", "x" + strings.Repeat("\n", 100)} {
		names[name] = true
	}
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
		makeDir(t, filepath.Dir(filepath.Join(www, name)))
		writeFile(t, filepath.Join(www, name), []byte("this is "+name))
	}
	slices.Sort(all)
	o := startOrigin(t, dir, `
site "hidden" {
  hosts = ["hidden"]
  route "/" {
    static {
      root   = "www"
      hidden = true
      index  = []
    }
  }
}
site "main" {
  hosts = ["main"]
  route "/" {
    static { root = "www" }
  }
}
`)
	var questions []question
	for _, name := range all {
		content := []byte("this is " + name)
		encoded := strings.ReplaceAll(percent(name), "%2f", "/")
		raw := "/" + name
		ask := func(host, target string, judge func(*http1test.Response) error) {
			questions = append(questions, question{"GET", request("GET", host, target), judge})
		}
		ask("hidden", "/"+encoded, text(content))
		ask("hidden", "/"+strings.ToUpper(encoded), text(content))
		if name[0] == '.' {
			ask("main", "/"+encoded, is(404))
		} else {
			ask("main", "/"+encoded, text(content))
		}
		// As it is, it is the same file or no path.
		if !strings.ContainsAny(name, "\r\n%?#") {
			ask("hidden", raw, either(text(content), is(400)))
		}
		// Encoded twice it is another name.
		ask("hidden", "/"+strings.ReplaceAll(encoded, "%", "%25"), func(res *http1test.Response) error {
			if res.Status == 404 || res.Status == 200 && !bytes.Equal(res.Body, content) || len(name) > 60 && res.Status == 404 {
				return nil
			}
			return fmt.Errorf("%d %q", res.Status, res.Body)
		})
	}
	t.Logf("%d names, %d questions", len(all), len(questions))
	o.ask(questions)
}

// A file that comes and goes and is replaced while it is asked for is there, whole, or it is not.
func TestStaticVanishingFiles(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	makeDir(t, www)
	o := startOrigin(t, dir, `
site "main" {
  route "/" {
    static {
      root     = "www"
      fallback {
        file = "/fallback"
      }
    }
  }
}
`)
	versions := map[string][]byte{}
	for _, n := range []int{100, 20000, 300000} {
		for v := range 3 {
			content := bytes.Repeat([]byte{byte('a' + v)}, n+v*1000)
			versions[string(content[:1])+fmt.Sprint(len(content))] = content
		}
	}
	files := []string{"s", "m", "l"}
	sizes := []int{100, 20000, 300000}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			k := i % 3
			name, v := filepath.Join(www, files[k]), i/3%3
			switch i / 9 % 3 {
			case 0:
				_ = os.Remove(name)
			default:
				next := filepath.Join(www, ".next")
				if os.WriteFile(next, versions[fmt.Sprintf("%c%d", 'a'+v, sizes[k]+v*1000)], 0o644) == nil {
					_ = os.Rename(next, name)
				}
			}
		}
	})
	tags := map[string]string{} // of a file and tag: the content
	var mu sync.Mutex
	var questions []question
	for i := range 1500 {
		name := files[i%len(files)]
		lines := [][]string{nil, {"Range: bytes=50-"}, {"Range: bytes=50-", `If-Range: "other"`}}[i/3%3]
		questions = append(questions, question{"GET", request("GET", "main", "/"+name, lines...), func(res *http1test.Response) error {
			if res.Status == 404 {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if res.Status != 200 && res.Status != 206 || len(res.Body) == 0 {
				return fmt.Errorf("%d, %d bytes", res.Status, len(res.Body))
			}
			length := len(res.Body)
			if res.Status == 206 {
				length += 50
			}
			version := fmt.Sprintf("%c%d", res.Body[0], length)
			if content, ok := versions[version]; !ok || !bytes.Equal(content[length-len(res.Body):], res.Body) {
				return fmt.Errorf("%d with %d bytes of no version, beginning with %.10q", res.Status, len(res.Body), res.Body)
			}
			tag := res.Get("ETag")
			if strings.HasPrefix(tag, `"`) {
				if old := tags[name+tag]; old != "" && old != version {
					return fmt.Errorf("the tag %s is of %s and of %s", tag, old, version)
				}
				tags[name+tag] = version
			}
			return nil
		}})
	}
	o.ask(questions)
	close(stop)
	wg.Wait()
	// What was removed is gone within a second, whole directories too; and what comes is there.
	if err := os.RemoveAll(www); err != nil {
		t.Fatal(err)
	}
	makeDir(t, www)
	for _, name := range files {
		until(t, name+" is gone", func() bool { return o.once("GET", request("GET", "main", "/"+name)).Status == 404 })
	}
	writeFile(t, filepath.Join(www, "fallback"), []byte("instead"))
	until(t, "the fallback is there", func() bool {
		return text([]byte("instead"))(o.once("GET", request("GET", "main", "/s"))) == nil
	})
	writeFile(t, filepath.Join(www, "s"), []byte("again"))
	until(t, "s is there again", func() bool { return text([]byte("again"))(o.once("GET", request("GET", "main", "/s"))) == nil })
}

// A file that is removed while it is sent arrives whole.
func TestStaticRemovedWhileSent(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	makeDir(t, filepath.Join(dir, "www"))
	o := startOrigin(t, dir, `
site "main" {
  route "/" {
    static { root = "www" }
  }
}
`)
	content := noise(24 << 20) // more than the socket's buffers hold
	name := filepath.Join(dir, "www", "large")
	for _, how := range []string{"removed", "replaced"} {
		writeFile(t, name, content)
		settle(t, name, longAgo)
		until(t, "it is served", func() bool {
			return o.once("HEAD", request("HEAD", "main", "/large")).Get("Content-Length") == fmt.Sprint(len(content))
		})
		c, err := dial(o.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(request("GET", "main", "/large"))); err != nil {
			t.Fatal(err)
		}
		var first [1]byte
		if _, err := c.Read(first[:]); err != nil {
			t.Fatal(err)
		}
		if how == "removed" {
			err = os.Remove(name)
		} else {
			next := name + ".next"
			writeFile(t, next, []byte("another"))
			err = os.Rename(next, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the change is seen", func() bool {
			return o.once("HEAD", request("HEAD", "main", "/large")).Get("Content-Length") != fmt.Sprint(len(content))
		})
		res, err := http1test.NewReader(&rejoined{first[:], c}).Read("GET")
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if fault := differ(res.Body, content); res.Status != http.StatusOK || fault != "" {
			t.Errorf("%s: %d, %s", how, res.Status, fault)
		}
		_ = c.Close()
	}
}

// rejoined reads what was read already, and then the rest.
type rejoined struct {
	before []byte
	net.Conn
}

func (r *rejoined) Read(p []byte) (int, error) {
	if len(r.before) > 0 {
		n := copy(p, r.before)
		r.before = r.before[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// until waits for what the server notices by itself.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	bound := time.Now().Add(patience)
	for tick := time.NewTicker(5 * time.Millisecond); !done(); <-tick.C {
		if time.Now().After(bound) {
			t.Fatalf("%s: waited in vain", what)
		}
	}
}
