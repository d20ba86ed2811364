package child

import (
	"net"
	"testing"

	"github.com/tined/tined/child/web"
)

// A client that has closed its connection is found out though it has only sent a FIN: the context of its handler ends, and a request that
// waits is taken out.
func TestClosedClientIsProbed(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan string, 10), make(chan string, 10)
	tc := start(t, oneWorker, routes{
		"/{n}": web.Limit(web.HandlerFunc(func(w *web.Response, r *web.Request) {
			begun <- r.PathValue("n")
			<-r.Context().Done()
			ended <- r.PathValue("n")
		}), web.Limits{Concurrency: 1}),
	})
	runs, waits := tc.dial(), tc.dial()
	runs.send("GET /runs HTTP/1.1\r\nHost: x\r\n\r\n")
	await(t, "the first", begun)
	waits.send("POST /waits HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	tc.until("the second waits", func(l *loop) bool { return l.generation.waiting() == 1 })
	waits.Close()
	tc.until("its client has gone", func(l *loop) bool { return l.generation.waiting() == 0 })
	runs.Close()
	if n := await(t, "the context's end", ended); n != "runs" {
		t.Errorf("%s has ended", n)
	}
	if len(begun) > 0 {
		t.Error("the handler of a client that had gone has run")
	}
}

// A client that has ended its side only gets its whole answer, after the question that it may skip (RFC 9110, 15.2); one of HTTP/1.0, to
// which there is no interim response, is not asked.
func TestHalfClosedClientSurvivesTheProbe(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.1", "1.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			begun, gate := make(chan struct{}, 10), make(chan struct{})
			tc := start(t, "", routes{"/": web.StringFunc(func(r *web.Request) string {
				begun <- struct{}{}
				<-gate
				if r.Context().Err() != nil {
					return "cancelled"
				}
				return "whole"
			})})
			p := tc.dial()
			p.send("GET / HTTP/" + version + "\r\nHost: x\r\n\r\n")
			await(t, "the handler", begun)
			if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			var from int64
			tc.until("the probe", func(l *loop) bool {
				if from == 0 {
					from = l.now
				}
				// With HTTP/1.0, which has no interim responses, the loop need not even have seen the end: nothing more is read.
				return only(l).has(flagProbed) || version == "1.0" && l.now-from > probeDelay+2*wheelTick
			})
			tc.onLoop(func(l *loop) {
				if probed := only(l).has(flagProbed); probed != (version == "1.1") {
					t.Errorf("probed: %t", probed)
				}
			})
			close(gate)
			if r := p.answer("GET"); r.Status != 200 || string(r.Body) != "whole" {
				t.Errorf("%d %q", r.Status, r.Body)
			}
			p.wantEnd()
		})
	}
}
