package child

// A pipeline keeps a connection's exchanges in the order of their requests (RFC 9112, 9.3.2). Handlers finish in any order; responses
// leave in this one. An exchange is first pending (its handler runs, or has finished before an earlier one), then sending (its
// response is encoded, its last byte not yet with the kernel).
type pipeline struct {
	pending list
	sending list
	next    uint32 // sequence number of the next exchange
	unsafe  uint32 // pending exchanges that run alone
}

// list is a queue of exchanges, linked through their next field. An exchange is in at most one.
type list struct {
	first, last *exchange
	length      int
}

func (q *list) push(ex *exchange) {
	if debugBuild && (ex.listed || ex.next != nil) {
		panic("child: an exchange is in two lists")
	}
	ex.listed = true
	if q.last == nil {
		q.first = ex
	} else {
		q.last.next = ex
	}
	q.last = ex
	q.length++
}

func (q *list) pop() *exchange {
	ex := q.first
	if ex == nil {
		return nil
	}
	q.first = ex.next
	if q.first == nil {
		q.last = nil
	}
	ex.next = nil
	ex.listed = false
	q.length--
	return ex
}

// replace puts substitute where ex is.
func (q *list) replace(ex, substitute *exchange) bool {
	var before *exchange
	for at := q.first; at != nil; before, at = at, at.next {
		if at != ex {
			continue
		}
		substitute.next = ex.next
		substitute.listed = true
		if before == nil {
			q.first = substitute
		} else {
			before.next = substitute
		}
		if q.last == ex {
			q.last = substitute
		}
		ex.next, ex.listed = nil, false
		return true
	}
	return false
}

// begin appends ex and gives it its sequence number.
func (p *pipeline) begin(ex *exchange) {
	ex.sequence = p.next
	p.next++
	if !ex.safe {
		p.unsafe++
	}
	p.pending.push(ex)
}

// finish marks ex as finished: its response can be encoded once it is the first.
func (p *pipeline) finish(ex *exchange) { ex.finished = true }

// head returns the exchange whose response is the next to leave, or nil.
func (p *pipeline) head() *exchange { return p.pending.first }

// encoded moves the head from pending to sending.
func (p *pipeline) encoded() *exchange {
	ex := p.pending.pop()
	if !ex.safe {
		p.unsafe--
	}
	p.sending.push(ex)
	return ex
}

// drop takes the head out, whose response goes on without it.
func (p *pipeline) drop() {
	if ex := p.pending.pop(); !ex.safe {
		p.unsafe--
	}
}

// find returns the pending exchange with this sequence number, or nil.
func (p *pipeline) find(sequence uint32) *exchange {
	for ex := p.pending.first; ex != nil; ex = ex.next {
		if ex.sequence == sequence {
			return ex
		}
	}
	return nil
}

// admits reports whether a request of this kind may start now: safe ones run side by side, an unsafe one alone.
func (p *pipeline) admits(safe bool) bool {
	return p.pending.first == nil || safe && p.unsafe == 0
}

// sent returns the exchange whose response is on its way, or nil.
func (p *pipeline) sent() *exchange {
	if p.sending.first != nil {
		return p.sending.first
	}
	return p.pending.first
}

// crowded reports whether many requests wait before the gate of the head's route. A connection has one request there then: with whole
// pipelines a few clients would take every place, and the others' requests would be refused.
func (p *pipeline) crowded() bool {
	ex := p.pending.first
	return ex != nil && ex.route != nil && 2*ex.route.gate.waiting.length > ex.route.gate.queue
}

// answering reports whether the head's response has begun and is not yet encoded to its end: a stream, or a pulled body.
func (p *pipeline) answering() bool {
	ex := p.pending.first
	return ex != nil && (ex.begun || ex.reader != nil)
}

// depth is the number of exchanges without an encoded response.
func (p *pipeline) depth() int { return p.pending.length }

func (p *pipeline) empty() bool { return p.pending.first == nil && p.sending.first == nil }
