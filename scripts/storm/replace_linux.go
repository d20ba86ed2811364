package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How often files change that are not replaced by rename. A stat from which a strong entity tag may be made has to be two seconds old: only
// what changes seldom gets one.
const (
	often  = 50 * time.Millisecond
	seldom = 3200 * time.Millisecond
)

// targets are the files of a trial. Some of those that are renamed have another length in each version, so that length and content can be
// of different versions; the others have always the same, so that nothing but the content tells them apart.
func targets(folder string) []*target {
	var all []*target
	add := func(m manner, size int, varies bool, every time.Duration) {
		all = append(all, &target{index: len(all), name: fmt.Sprintf("%02d-%s-%dk.txt", len(all), m, size>>10),
			folder: folder, manner: m, size: size, varies: varies, every: every})
	}
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 6 << 20} {
		add(renamed, size, false, 0)
		add(renamed, size, true, 0)
	}
	for _, m := range []manner{overwritten, truncated, remade} {
		for _, size := range []int{1 << 10, 12 << 10, 256 << 10, 1 << 20} {
			if size < slowSize { // writing the others so often is work for the disk alone
				add(m, size, false, often)
			}
			add(m, size, false, seldom)
		}
	}
	return all
}

// write makes the next version of a file.
func (f *target) write(buffer []byte) ([]byte, error) {
	v := f.begin()
	content := f.content(buffer, v)
	path := filepath.Join(f.folder, f.name)
	var err error
	switch f.manner {
	case renamed:
		if err = writeInto(path+".next", os.O_CREATE|os.O_EXCL, content); err == nil {
			err = os.Rename(path+".next", path)
		}
	case overwritten:
		err = writeInto(path, os.O_CREATE, content)
	case truncated:
		err = writeInto(path, os.O_CREATE|os.O_TRUNC, content)
	case remade:
		if err = os.Remove(path); err == nil || os.IsNotExist(err) {
			err = writeInto(path, os.O_CREATE|os.O_EXCL, content)
		}
	}
	f.end(v)
	return content, err
}

// writeInto writes into a file in two steps, as many a program does.
func writeInto(path string, flags int, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	// With its blocks reserved, ext4 does not write it to the disk at once when it takes another's name (auto_da_alloc, ext4(5)). Where
	// they cannot be, it is slower.
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(content)))
	for _, half := range [][]byte{content[:len(content)/2], content[len(content)/2:]} {
		if _, e := f.Write(half); err == nil {
			err = e
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// writers change the files until stop is closed: those of every renames, rate of them a second together, the others at their own pace.
type writers struct {
	all   sync.WaitGroup
	stop  chan struct{}
	mu    sync.Mutex
	wrote int // by rename
	err   error
}

func startWriters(files []*target, rate int) *writers {
	w := &writers{stop: make(chan struct{})}
	bySize := make(map[int][]*target)
	for _, f := range files {
		if f.manner == renamed {
			bySize[f.size] = append(bySize[f.size], f)
			continue
		}
		// Each at another moment.
		w.all.Go(func() {
			w.pace(f.every+f.every*time.Duration(f.index)/time.Duration(8*len(files)), func(int) *target { return f })
		})
	}
	// Most are small, or the disk would be what is tried: some 25 MB a second at the rate of 1,000. Each of the two that are of one size has
	// a writer of its own.
	for which := range 2 {
		w.all.Go(func() {
			w.pace(2*time.Second/time.Duration(rate), func(i int) *target {
				size := 1 << 10
				switch {
				case i%500 == 499:
					size = 6 << 20
				case i%100 == 99:
					size = 1 << 20
				case i%10 == 9:
					size = 64 << 10
				}
				return bySize[size][which]
			})
		})
	}
	return w
}

// pace writes a file every gap. What is late catches up.
func (w *writers) pace(gap time.Duration, which func(i int) *target) {
	var buffer []byte
	due := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i := 0; ; i++ {
		due = due.Add(gap)
		wait.Reset(time.Until(due))
		select {
		case <-w.stop:
			return
		case <-wait.C:
		}
		f := which(i)
		var err error
		buffer, err = f.write(buffer)
		w.mu.Lock()
		if err != nil && w.err == nil {
			w.err = fmt.Errorf("%s: %w", f.name, err)
		}
		if f.manner == renamed {
			w.wrote++
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// end stops all of them, and returns how many files were replaced by rename.
func (w *writers) end() (int, error) {
	close(w.stop)
	w.all.Wait()
	return w.wrote, w.err
}

// Roads to the files: static packs what it sends by itself, or the middleware does. An entity tag is one of a road.
var roads = []string{"/", "/packed/"}

// replacedText is the configuration.
func (t *trial) replacedText(root string) string {
	return fmt.Sprintf(`children = %d

listen "main" {
  address  = %q
  deferred = %t
}

log {
  level = "info"
  file  = %q
}

limits {
  idle_timeout = "1h"
}

site "storm" {
  listen = ["main"]
  route "/" {
    static {
      root = %q
      compress {}
    }
  }
  route "/packed/" {
    compress {}
    static {
      root = %q
    }
  }
}
`, t.children, t.ground.address, t.deferred, filepath.Join(t.folder, "storm.log"), root, root)
}

// replace changes the files of a site under its clients. Each content says which version it is: an answer of two versions is found, and so is
// an entity tag that stands for two.
func (t *trial) replace() error {
	root := filepath.Join(t.folder, "www")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	files := targets(root)
	var buffer []byte
	for _, f := range files {
		var err error
		if buffer, err = f.write(buffer); err != nil {
			return err
		}
	}
	var err error
	if t.server, err = newServer(t, t.tined, t.replacedText(root)); err != nil {
		return err
	}
	before, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	// The kernel's scheduler takes turns among threads sooner than Go's among goroutines: a writer does not wait for clients that compare.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	j := newJury()
	stop := make(chan struct{})
	writing := startWriters(files, t.rate)
	var visitors sync.WaitGroup
	for i := range t.clients + t.streams {
		v := &visitor{trial: t, jury: j, files: files, slow: i >= t.clients, stop: stop, random: rand.New(rand.NewPCG(uint64(i), 1))}
		visitors.Go(v.visit)
	}
	begin := time.Now()
	timer := time.NewTimer(t.over)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.server.process.Ended():
	}
	took := time.Since(begin)
	wrote, err := writing.end()
	close(stop)
	visitors.Wait()
	if err != nil {
		return err
	}
	after, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	// Fewer than wanted are no doubt: what is found is a fault at any rate.
	t.note(fmt.Sprintf("replaced by rename, a second, of %d", t.rate), int(float64(wrote)/took.Seconds()))
	t.bar("the same processes", fmt.Sprint(slices.Equal(before, after)), "true", slices.Equal(before, after))
	j.tell(t.report)
	return nil
}

// visitor is a client that asks for one file after the other.
type visitor struct {
	*trial
	jury   *jury
	files  []*target
	slow   bool // reads slowly
	stop   chan struct{}
	random *rand.Rand

	conn   net.Conn // nil: none
	reader *bufio.Reader
	body   []byte
	held   *form // the last whole answer
}

func (v *visitor) visit() {
	defer v.hangUp()
	for {
		select {
		case <-v.stop:
			return
		default:
		}
		if !v.slow {
			time.Sleep(time.Duration(v.random.Int64N(int64(think))))
		}
		q := v.choose()
		r, err := v.exchange(q)
		if err != nil {
			v.hangUp()
			v.jury.broken(q, err)
			continue
		}
		if kept := v.jury.judge(r); kept != nil {
			v.held = kept
		}
	}
}

const (
	// slowSize is the least length, in bytes, of what slow clients ask for: less leaves the server at once. They read slowRate bytes a
	// second, and sleep for slowStep at least.
	slowSize = 256 << 10
	slowRate = 3 << 20
	slowStep = 10 * time.Millisecond
	// think is the longest pause of the others before a question: the writers need some of the machine too.
	think = 10 * time.Millisecond
)

// choose draws a question: half of them about what the client has got already.
func (v *visitor) choose() question {
	q := question{road: roads[v.random.IntN(len(roads))]}
	if v.held != nil && v.random.IntN(2) == 0 {
		h := v.held
		q.of, q.road, q.coding, q.about = h.of, h.road, h.asked, h
		if v.random.IntN(2) == 0 && len(h.body) > 1 && h.strong() {
			q.ranged = true
			q.first = v.random.IntN(len(h.body) - 1)
			q.last = q.first + v.random.IntN(len(h.body)-q.first)
		}
		return q
	}
	for q.of == nil || v.slow && q.of.size < slowSize {
		q.of = v.files[v.random.IntN(len(v.files))]
		if q.of.size > slowSize && !v.slow && v.random.IntN(4) > 0 {
			q.of = nil // a few long ones are enough
		}
	}
	switch v.random.IntN(6) {
	case 0:
		q.coding = "gzip"
	case 1:
		q.coding = "zstd"
	case 2:
		if q.of.manner == renamed { // what has to be a part of one version
			q.ranged = true
			q.first = v.random.IntN(q.of.size/lineSize-shorter) * lineSize
			q.last = q.first + lineSize*(1+v.random.IntN(shorter)) - 1
		}
	}
	return q
}

// exchange asks, and reads the answer.
func (v *visitor) exchange(q question) (*reply, error) {
	if v.conn == nil {
		c, err := v.ground.dial()
		if err != nil {
			return nil, err
		}
		if v.slow {
			// A small buffer, so that the server has to wait for this client: but some of loopback's segments must fit, or who sends
			// waits for timers.
			if err := c.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
				return nil, err
			}
		}
		v.conn, v.reader = c, bufio.NewReaderSize(c, 16<<10)
	}
	if err := v.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	r := &reply{question: q, begin: time.Now()}
	if _, err := io.WriteString(v.conn, q.text()); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(v.reader, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	v.body = v.body[:0]
	for err == nil {
		if len(v.body) == cap(v.body) {
			v.body = slices.Grow(v.body, max(64<<10, len(v.body)))
		}
		room := v.body[len(v.body):cap(v.body)]
		var n int
		n, err = answer.Body.Read(room)
		v.body = v.body[:len(v.body)+n]
		if ahead := time.Duration(len(v.body))*time.Second/slowRate - time.Since(r.begin); v.slow && ahead > slowStep {
			time.Sleep(ahead)
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("after %d of %d bytes: %w", len(v.body), answer.ContentLength, err)
	}
	r.end = time.Now()
	r.status, r.body = answer.StatusCode, v.body
	r.tag, r.packed, r.part = answer.Header.Get("ETag"), answer.Header.Get("Content-Encoding"), answer.Header.Get("Content-Range")
	if answer.Close {
		v.hangUp()
	}
	return r, nil
}

func (v *visitor) hangUp() {
	if v.conn != nil {
		_ = v.conn.Close()
		v.conn = nil
	}
}
