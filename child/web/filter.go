package web

import "io"

// This file is the seam for middleware that changes responses.

// A Middleware makes a handler of a handler: it may answer in its place, look at the request before and at the response after, and put
// a Filter between the two. It is called once for each route, when the program or a configuration is set up.
type Middleware func(next Handler) Handler

// Chain puts middleware before h: the first is the outermost, which sees the request first and the response last. Limits of h stay those
// of the whole.
func Chain(h Handler, middleware ...Middleware) Handler {
	h, limits := LimitsOf(h)
	for i := len(middleware) - 1; i >= 0; i-- {
		h = middleware[i](h)
	}
	if limits != (Limits{}) {
		h = Limit(h, limits)
	}
	return h
}

// A StreamWriter is a station that the content of a streamed response passes.
type StreamWriter interface {
	io.Writer
	// Flush passes on what is held back, and flushes the next station.
	Flush() error
	// Close passes on what is held back; nothing follows. It leaves the next station open.
	Close() error
}

// A Filter is asked when w turns into a stream, once, before the head is sent: it may change status and header. It returns the station
// that content passes from now on, which writes to next; nil when the content is to stay as it is. It is not asked for a response that
// does not stream, nor for a PushStream.
type Filter func(w *Response) (station func(next StreamWriter) StreamWriter)

// Filter puts f between the handlers that are called from now on and the server. Of several filters the one that came last sees the
// response first. The middleware that has set it calls end when the handler that it wraps has returned: it reports whether the response
// streams, in which case the content of that handler is whole now and has passed the station, and otherwise takes the filter away, so
// that the middleware may change what the handler has left (OutcomeOf). What is written after end does not pass the filter. A middleware
// that lets panics through defers end.
func (w *Response) Filter(f Filter) (end func() (streamed bool, err error)) {
	w.filters = append(w.filters, f)
	at := len(w.filters) - 1
	return func() (bool, error) {
		if !w.stream {
			if at < len(w.filters) { // Retry has taken all away
				clear(w.filters[at:])
				w.filters = w.filters[:at]
			}
			return false, nil
		}
		return true, w.closeStations(at)
	}
}

// closeStations closes the stations of the filters from at on: those of handlers that have returned. Content that follows passes the
// others.
func (w *Response) closeStations(at int) error {
	var failed error
	for i := len(w.stations) - 1; i >= at; i-- { // the innermost first: what it holds back passes the others
		station := w.stations[i]
		w.stations = w.stations[:i]
		w.content = outermost{w.engine}
		for _, outer := range w.stations {
			if outer != nil {
				w.content = outer
			}
		}
		if station == nil {
			continue
		}
		if err := station.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// outermost is the last station: the server. Its end is told by the handler's return.
type outermost struct{ Engine }

func (outermost) Close() error { return nil }

// keepOpen is what a station sees of the next one, which is not its to close.
type keepOpen struct{ StreamWriter }

func (keepOpen) Close() error { return nil }

// direct makes the stations of a response that turns into a stream: w.stations[i] belongs to w.filters[i].
func (w *Response) direct() {
	w.stations, w.content = nil, outermost{w.engine}
	if len(w.filters) == 0 {
		return
	}
	makers := make([]func(StreamWriter) StreamWriter, len(w.filters))
	for i := len(w.filters) - 1; i >= 0; i-- { // the innermost sees the head first
		makers[i] = w.filters[i](w)
	}
	w.stations = make([]StreamWriter, len(w.filters))
	for i, station := range makers {
		if station != nil {
			w.content = station(keepOpen{w.content})
			w.stations[i] = w.content
		}
	}
}
