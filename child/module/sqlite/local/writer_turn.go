package local

import (
	"errors"
	"runtime"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// rerunsTogether is how often an innocent batch is undone before it gets a transaction for itself.
const rerunsTogether = 3

// work is the goroutine: each turn is one transaction.
func (w *writer) work() {
	for {
		end, closed := w.queue.retire()
		if closed {
			w.closeGate()
		}
		if end {
			return
		}
		// On one processor those that have been answered, and others that are ready, come into the same transaction.
		runtime.Gosched()
		w.turn()
	}
}

// turn takes the turnstile, makes one transaction, gives the turnstile back, and answers.
func (w *writer) turn() {
	if err := w.lockGate(); err != nil {
		e := lite.ErrorOf(err)
		w.reportOnce("taking the turnstile", e)
		w.queue.refuse(func() *engine.Error { return copyOf(e) })
		return
	}
	if !w.queue.claim() {
		w.unlockGate()
		return
	}
	defer w.queue.release()
	w.group, w.again = w.group[:0], w.again[:0]
	if !w.begin() {
		w.unlockGate()
		return
	}
	began := time.Now()
	w.fill(began)
	w.end()
	w.unlockGate()
	w.answer()
	w.keepPace(time.Since(began))
	clear(w.group[:cap(w.group)])
	clear(w.again)
}

func (w *writer) lockGate() error {
	if w.gate == nil {
		g, err := w.turnstile()
		if err != nil {
			return err
		}
		w.gate = g
	}
	if err := w.gate.Lock(); err != nil {
		w.closeGate()
		return err
	}
	return nil
}

// unlockGate lets the next child in. If that fails, closing the descriptor does it.
func (w *writer) unlockGate() {
	if err := w.gate.Unlock(); err != nil {
		w.log("giving the turnstile back", err)
		w.closeGate()
	}
}

// begin begins a transaction. It tries for as long as somebody waits for it: each of those goes when its time is over. false: nobody is left, or all
// have been told why not.
func (w *writer) begin() bool {
	var p pause
	for w.queue.waits() > 0 {
		err := w.tryBegin()
		if err == nil {
			return true
		}
		if errors.Is(err, errMoved) {
			// Whoever asks again is given the writer of the new file.
			w.queue.refuse(errorClosed)
			return false
		}
		e := lite.ErrorOf(err)
		if e.Code != engine.CodeBusy {
			w.reportOnce("beginning a transaction", e)
			w.dropIfSick(e)
			w.queue.refuse(func() *engine.Error { return copyOf(e) })
			return false
		}
		p.wait()
	}
	return false
}

func (w *writer) tryBegin() error {
	if w.conn == nil {
		c, err := w.open()
		if err != nil {
			return err
		}
		w.conn = c
	}
	return w.conn.Exec("BEGIN IMMEDIATE")
}

// fill runs batches in the transaction until it is full, nothing waits, or one has destroyed it.
func (w *writer) fill(began time.Time) {
	for len(w.group) < w.together {
		e := w.queue.take(w.group)
		if e == nil {
			return
		}
		w.group = append(w.group, e)
		if e.ctx.Err() != nil {
			e.settle(w.goneError(e.ctx))
			continue
		}
		if !w.run(e) {
			w.undo(e)
			return
		}
		if time.Since(began) >= groupTime {
			return
		}
	}
}

// undo is for when culprit has destroyed the transaction: it is gone, or has to go. The others are run again, without newcomers. The culprit, if
// some of its statements may run again, does so where it harms nobody.
func (w *writer) undo(culprit *entry) {
	w.rollback()
	culprit.alone = true
	for _, e := range w.group {
		if e != culprit && !e.settled {
			e.reruns++
			e.alone = e.alone || e.reruns > rerunsTogether
		}
	}
	w.runAgain()
}

// runAgain takes those that have no answer out of the group, to be run in another transaction.
func (w *writer) runAgain() {
	answered := w.group[:0]
	for _, e := range w.group {
		if e.settled {
			answered = append(answered, e)
		} else {
			w.again = append(w.again, e)
		}
	}
	w.group = answered
}

// end commits, if the transaction is there still.
//
// No batch leaves deferred constraints open (run sees to it), so that what fails here is what all of them together asked for, or the disk. An error
// that one of them may have caused alone sends each into a transaction of its own, where it cannot be another's; any other is everybody's.
func (w *writer) end() {
	if w.conn == nil || !w.conn.InTransaction() {
		return
	}
	err := w.commit()
	if err == nil {
		w.ill = ""
		return
	}
	e := lite.ErrorOf(err)
	w.reportOnce("committing", e)
	w.rollback()
	open := 0
	for _, other := range w.group {
		if !other.settled {
			open++
		}
	}
	if open > 1 && (e.Code == engine.CodeFull || e.Code.Status() == statusConflict) {
		for _, other := range w.group {
			other.alone = true
		}
		w.runAgain()
		return
	}
	for _, other := range w.group {
		if !other.settled {
			other.settle(copyOf(e))
		}
	}
	w.dropIfSick(e)
}

// dropIfSick closes the connection after an error that another connection may not have: an error of the disk, or what looks like a broken file.
func (w *writer) dropIfSick(e *engine.Error) {
	if e.Code.Status() == statusInternal {
		w.drop()
	}
}

// Statuses of codes that are treated alike.
const (
	statusConflict = 409
	statusInternal = 500
)

// commit makes the transaction durable. In WAL mode nobody can be in its way; in another, readers can.
func (w *writer) commit() error {
	var p pause
	until := time.Now().Add(w.timeout)
	for {
		err := w.conn.Exec("COMMIT")
		if err == nil || lite.ErrorOf(err).Code != engine.CodeBusy || !w.conn.InTransaction() || !time.Now().Before(until) {
			return err
		}
		p.wait()
	}
}

// rollback undoes what is left of the transaction. A connection that cannot even do that is closed, which does it.
func (w *writer) rollback() {
	if w.conn == nil || !w.conn.InTransaction() {
		return
	}
	if err := w.conn.Exec("ROLLBACK"); err != nil {
		w.log("rolling back", err)
	}
	if w.conn.InTransaction() {
		w.drop()
	}
}

// answer gives those of the group their answers, and puts the others back.
func (w *writer) answer() {
	if len(w.again) > 0 {
		w.queue.putBack(w.again)
	}
	w.queue.finish(w.group)
}

// keepPace keeps the mean time of a batch, of which a new turn is an eighth.
func (w *writer) keepPace(turn time.Duration) {
	n := len(w.group)
	if n == 0 {
		return
	}
	pace := w.pace.Load()
	w.pace.Store(pace + (int64(turn)/int64(n)-pace)/8)
}

// reportOnce logs what is the matter with the file or the disk, once until a transaction has succeeded again.
func (w *writer) reportOnce(operation string, e *engine.Error) {
	if w.ill == e.Code {
		return
	}
	w.ill = e.Code
	w.log(operation, e)
}

// copyOf is for an error that several get: each may add to its own.
func copyOf(e *engine.Error) *engine.Error {
	c := *e
	return &c
}
