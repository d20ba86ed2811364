package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Names of requests in the report.
const (
	sqlWrites = "writes"
	sqlReads  = "reads"
	sqlEnds   = "what never ends"
)

// An sqlStorm is what the clients of one run have in common.
type sqlStorm struct {
	*trial
	jury *sqlJury
	all  sync.WaitGroup
	full atomic.Bool // the disk is full, or was a moment ago
	// sequence numbers the rows of all writers.
	sequence atomic.Int64
	// newest is the id of a row that was acknowledged lately.
	newest atomic.Int64

	mu    sync.Mutex
	kills []time.Time // of children
	cut   int         // requests whose connection a kill has cut
}

// An sqlClient is one keep-alive connection.
type sqlClient struct {
	*sqlStorm
	random *rand.Rand
	conn   net.Conn // nil: none
	dialed time.Time
	reader *bufio.Reader
}

// killed notes that a child is about to die.
func (s *sqlStorm) killed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills = append(s.kills, time.Now())
}

// excused reports whether a child died while a connection was there: what was under way on it may be lost.
func (s *sqlStorm) excused(dialed, end time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kills {
		if dialed.Before(k) && end.After(k) {
			s.cut++
			return true
		}
	}
	return false
}

// clients starts n of them. Each does the same again and again, until stop is closed.
func (s *sqlStorm) clients(n int, stop <-chan struct{}, make func(c *sqlClient, number int) func()) {
	for i := range n {
		c := &sqlClient{sqlStorm: s, random: rand.New(rand.NewPCG(uint64(i), 8))}
		turn := make(c, i)
		s.all.Go(func() {
			defer c.hangUp()
			for {
				select {
				case <-stop:
					return
				default:
					turn()
				}
			}
		})
	}
}

func (c *sqlClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// ask makes a request. The body is the caller's.
func (c *sqlClient) ask(method, path, fields string, content []byte) (*sqlAnswer, error) {
	if c.conn == nil {
		c.dialed = time.Now()
		conn, err := c.ground.dial()
		if err != nil {
			return nil, err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 4<<10)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	request := make([]byte, 0, 512)
	request = fmt.Appendf(request, "%s %s HTTP/1.1\r\nHost: storm\r\n%s", method, path, fields)
	if content != nil {
		request = fmt.Appendf(request, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(content))
	}
	request = append(append(request, "\r\n"...), content...)
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	a := &sqlAnswer{status: answer.StatusCode, tag: answer.Header.Get("ETag"), retryAfter: answer.Header.Get("Retry-After"),
		kind: answer.Header.Get("Content-Type")}
	if a.body, err = io.ReadAll(answer.Body); err != nil {
		return nil, err
	}
	if a.status >= 400 {
		a.code = problemCode(a.body)
	}
	if answer.Close {
		c.hangUp()
	}
	return a, nil
}

// exchange makes a request and files its answer. nil: there was none, or one that must not be.
func (c *sqlClient) exchange(name string, e expectation, method, path, fields string, content []byte) *sqlAnswer {
	e.full = e.full || c.full.Load()
	begin := time.Now()
	a, err := c.ask(method, path, fields, content)
	if err != nil {
		c.hangUp()
		switch timeout, _ := errors.AsType[net.Error](err); {
		case timeout != nil && timeout.Timeout(): // who dies closes its connections: nobody has to wait for that
			c.jury.blame(name+": no answer", err)
		case !c.excused(c.dialed, time.Now()):
			c.jury.blame(name+": broken off", fmt.Errorf("%w%s", err, c.when(time.Now())))
		}
		return nil
	}
	e.full = e.full || c.full.Load()
	kind, err := classifyAnswer(a, e)
	if err != nil {
		c.jury.blame(name+": a wrong answer", fmt.Errorf("%s %s: %w", method, path, err))
		return nil
	}
	c.jury.count(name, kind, time.Since(begin))
	return a
}

// busyPause is how long a client waits that was sent away. Retry-After says a second: the storm is less patient, which is harder.
const busyPause = 100 * time.Millisecond

// goodNote and badNote are what rows say: the table's CHECK refuses the second.
const (
	goodNote = "a row of some bytes, as they are"
	badNote  = "bad"
)

// writer returns what the writer with a number does: it posts rows, each with a number of its own. Now and then one that a constraint
// refuses, several at once, or several of which the last one is refused, so that none may be there.
func (c *sqlClient) writer(number int) func() {
	return func() {
		n, bad := 1, c.random.IntN(20) == 0
		array := c.random.IntN(20) == 0
		if array {
			n = 3
		}
		type row struct {
			Writer int64  `json:"writer"`
			Seq    int64  `json:"seq"`
			Note   string `json:"note"`
		}
		rows := make([]row, n)
		keys := make([]rowKey, n)
		for i := range rows {
			keys[i] = rowKey{int64(number), c.sequence.Add(1)}
			rows[i] = row{keys[i].writer, keys[i].seq, goodNote}
		}
		if bad {
			rows[n-1].Note = badNote
		}
		var content []byte
		if array {
			content, _ = json.Marshal(rows) // it cannot fail
		} else {
			content, _ = json.Marshal(rows[0])
		}
		c.jury.tell(unknown, keys...)
		a := c.exchange(sqlWrites, expectation{constraint: bad}, http.MethodPost, sqlLog, "", content)
		switch {
		case a == nil: // unknown
		case a.status != http.StatusOK:
			c.jury.tell(refused, keys...)
			if a.status != http.StatusConflict {
				time.Sleep(busyPause)
			}
		default:
			c.jury.tell(acknowledged, keys...)
			if array {
				return
			}
			var told struct {
				Rows int64 `json:"rows_affected"`
				ID   int64 `json:"last_insert_id"`
			}
			if err := json.Unmarshal(a.body, &told); err != nil || told.Rows != 1 || told.ID < 1 {
				c.jury.blame("an acknowledgement that says nothing", fmt.Errorf("%q", a.body))
				return
			}
			c.jury.reach(told.ID, 0)
			c.newest.Store(told.ID)
		}
	}
}

// held is an answer that a client keeps.
type held struct {
	tag  string
	last int64
}

// visitor returns what a reader does: it asks for the last row's number, for the newest rows, and for a row that was acknowledged.
func (c *sqlClient) visitor(int) func() {
	var kept held
	return func() {
		time.Sleep(time.Duration(c.random.Int64N(int64(think))))
		floor := c.jury.floor()
		var a *sqlAnswer
		switch c.random.IntN(4) {
		case 0, 1:
			fields, asks := "", kept.tag != "" && c.random.IntN(4) > 0
			if asks {
				fields = "If-None-Match: " + kept.tag + "\r\n"
			}
			if a = c.exchange(sqlReads, expectation{same: asks}, http.MethodGet, sqlLast, fields, nil); a != nil {
				c.lookAtLast(a, &kept, floor)
			}
		case 2:
			accept := []string{"application/json", "application/x-ndjson", "text/csv"}[c.random.IntN(3)]
			if a = c.exchange(sqlReads, expectation{}, http.MethodGet, sqlTail, "Accept: "+accept+"\r\n", nil); a != nil && a.status == http.StatusOK {
				c.lookAtTail(a, floor)
			}
		default:
			id := max(c.newest.Load()-c.random.Int64N(50), 0)
			if id == 0 {
				return
			}
			path := fmt.Sprintf("%s/%d", sqlLog, id)
			if a = c.exchange(sqlReads, expectation{}, http.MethodGet, path, "", nil); a == nil || a.status != http.StatusOK {
				break
			}
			c.tagged(path, a)
			if !strings.HasPrefix(string(a.body), fmt.Sprintf(`{"id":%d,`, id)) {
				c.jury.blame("another row than was asked for", fmt.Errorf("%s: %q", path, a.body))
			}
		}
		if a != nil && a.status == http.StatusServiceUnavailable {
			time.Sleep(busyPause)
		}
	}
}

func (c *sqlClient) tagged(path string, a *sqlAnswer) {
	if a.tag != "" {
		c.jury.tagged(path, a.tag, append([]byte(a.kind+"\n"), a.body...))
	}
}

// lookAtLast looks at the number of the last row, or at being told that it is the same.
func (c *sqlClient) lookAtLast(a *sqlAnswer, kept *held, floor int64) {
	switch a.status {
	case http.StatusNotModified:
		c.jury.reach(kept.last, floor)
	case http.StatusOK:
		var told struct {
			Last int64 `json:"last"`
		}
		if err := json.Unmarshal(a.body, &told); err != nil {
			c.jury.blame("an answer that says nothing", fmt.Errorf("%q", a.body))
			return
		}
		c.jury.reach(told.Last, floor)
		c.tagged(sqlLast, a)
		*kept = held{a.tag, told.Last}
	}
}

// lookAtTail looks whether the newest rows are of one moment: their numbers have no gap, for no row is ever removed.
func (c *sqlClient) lookAtTail(a *sqlAnswer, floor int64) {
	c.tagged(sqlTail, a)
	ids, err := tailIDs(a.kind, a.body)
	if err != nil {
		c.jury.blame("an answer that says nothing", fmt.Errorf("%w: %.300q", err, a.body))
		return
	}
	last := int64(0)
	for i, id := range ids {
		if i > 0 && id != ids[i-1]-1 {
			c.jury.blame("rows of two moments", fmt.Errorf("%v", ids))
			break
		}
		last = max(last, id)
	}
	c.jury.reach(last, floor)
}
