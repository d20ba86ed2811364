package wire

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

func TestProblem(t *testing.T) {
	cases := []struct {
		e    engine.Error
		want string
	}{
		{engine.Error{Code: engine.CodeSQL, Message: `near "selec": syntax error`, Offset: 0},
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"near \"selec\": syntax error","code":"sql_error","offset":0}`},
		{engine.Error{Code: engine.CodeSQL, Message: "x", Offset: -1},
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"x","code":"sql_error"}`},
		{engine.Error{Code: engine.CodeBusy, Message: "the queue is full", Queue: 1000, RetryAfter: 1500 * time.Millisecond},
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the queue is full","code":"busy","queue":1000,"retry_after":2}`},
		{engine.Error{Code: engine.CodeTooMany, Message: "x", RetryAfter: time.Second},
			`{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"x","code":"too_many_requests","retry_after":1}`},
		{engine.Error{Code: engine.CodeNotFound, Message: "no row\xff", Queue: 3},
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"no row` + "\uFFFD" + `","code":"not_found"}`},
		{engine.Error{Code: "new", Message: ""},
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"","code":"new"}`},
	}
	for _, c := range cases {
		got := string(Problem(nil, &c.e))
		if got != c.want {
			t.Errorf("%s\nwant\n%s", got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("no JSON: %s", got)
		}
	}
}

// Every status that a code has is called as the registry calls it; net/http has an older name for one.
func TestPhrases(t *testing.T) {
	for _, c := range []engine.Code{
		engine.CodeSQL, engine.CodeUnauthorized, engine.CodeDenied, engine.CodeNotFound, engine.CodeMethod, engine.CodeNotAcceptable, engine.CodeConstraint,
		engine.CodeTooLarge, engine.CodeMediaType, engine.CodeTooMany, engine.CodeBusy, engine.CodeTimeout, engine.CodeFull, engine.CodeInternal,
		engine.CodePrecondition, engine.CodeUnknown, engine.CodeUnavailable, engine.CodeNotReadOnly, engine.CodeTooManyRows, engine.CodeCancelled,
	} {
		want := http.StatusText(c.Status())
		if c.Status() == 413 {
			want = "Content Too Large"
		}
		if got := phrase(c.Status()); got != want {
			t.Errorf("%d: %q, want %q", c.Status(), got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		-time.Second: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 1<<63 - 1: 9223372037,
	} {
		if got := RetryAfter(&engine.Error{RetryAfter: d}); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
