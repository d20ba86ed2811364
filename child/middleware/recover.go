package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// RecoverOptions say what the client of a handler that panics gets.
type RecoverOptions struct {
	// Status is from 500 to 599. 0: 500.
	Status int
	// ContentType and Body are the content. With neither, it is the status in words, as text.
	ContentType, Body string
	// Answer, if it is not nil, makes the answer instead, of an empty response; v is what the handler panicked with.
	Answer func(w *web.Response, r *web.Request, v any)
	// Log, if it is not nil, is told of the panic instead of the server's log.
	Log func(r *web.Request, v any, stack []byte)
}

func recoverSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "recover",
		Doc:  "answers when a handler panics",
		Attributes: []configs.Attribute{
			{Name: "status", Type: configs.Int, Default: 500, Min: 500, Max: 599, Doc: "status code"},
			{Name: "body", Type: configs.String, Default: "", Doc: `content; "": the status in words`},
			{Name: "content_type", Type: configs.String, Default: "text/plain; charset=utf-8", Doc: "Content-Type of body", Check: checkFieldValue},
		},
	}
}

func checkFieldValue(v any) error {
	if !web.ValidFieldValue(v.(string)) {
		return configs.Problem{Message: "a field value holds no control characters", Cure: `write for example "text/html; charset=utf-8"`}
	}
	return nil
}

func recoverOptions(b *configs.Block) RecoverOptions {
	return RecoverOptions{Status: b.Int("status"), Body: b.String("body"), ContentType: b.String("content_type")}
}

// Recover answers when a handler panics, which the server's log tells with the stack. The server does the same by itself, with a plain
// 500; Recover has an answer of the program's own, and keeps the fields that outer middleware has set. http.ErrAbortHandler passes: it
// closes the connection. So does the panic of a handler whose answer has begun, for the client must not take the part for the whole. It
// panics if o.Status is outside 500 to 599.
func Recover(o RecoverOptions) web.Middleware {
	if o.Status == 0 {
		o.Status = 500
	}
	if o.Status < 500 || o.Status > 599 {
		panic(fmt.Sprintf("middleware: Recover with status %d: use 500 to 599", o.Status))
	}
	if o.ContentType == "" {
		o.ContentType = "text/plain; charset=utf-8"
	}
	if o.Log == nil {
		o.Log = web.LogPanic
	}
	return func(next web.Handler) web.Handler {
		h := &recoverer{RecoverOptions: o, next: next}
		if now, ok := next.(web.NonBlocking); ok {
			return recovererNow{h, now}
		}
		return h
	}
}

type recoverer struct {
	RecoverOptions
	next web.Handler
}

// Serve implements web.Handler.
func (h *recoverer) Serve(w *web.Response, r *web.Request) {
	kept := w.Header().Clone()
	defer func() {
		if v := recover(); v != nil {
			h.answer(w, r, v, kept)
		}
	}()
	h.next.Serve(w, r)
}

// answer answers after a panic with v. kept is the header that the handler was given.
func (h *recoverer) answer(w *web.Response, r *web.Request, v any, kept web.Header) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	h.Log(r, v, debug.Stack())
	if web.OutcomeOf(w).Kind == web.BodyDetached || !web.Retry(w) {
		panic(http.ErrAbortHandler)
	}
	restore(w.Header(), &kept)
	switch {
	case h.Answer != nil:
		w.SetStatus(h.Status)
		h.Answer(w, r, v)
	case h.Body != "":
		w.SetStatus(h.Status)
		w.Header().Set("Content-Type", h.ContentType)
		w.SendString(h.Body)
	default:
		web.Error(w, h.Status)
	}
}

type recovererNow struct {
	*recoverer
	now web.NonBlocking
}

// ServeNow implements web.NonBlocking.
func (h recovererNow) ServeNow(w *web.Response, r *web.Request) (answered bool) {
	kept := w.Header().Clone()
	defer func() {
		if v := recover(); v != nil {
			answered = true
			h.answer(w, r, v, kept)
		}
	}()
	return h.now.ServeNow(w, r)
}
