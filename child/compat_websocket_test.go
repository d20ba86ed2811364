package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/tined/tined/child/web"
)

// gorillaEcho echoes messages until the client closes.
func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	upgrader := gorilla.Upgrader{EnableCompression: true}
	conn, err := upgrader.Upgrade(w, r, http.Header{"X-Served-By": {"gorilla"}})
	if err != nil {
		return // it has answered
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// coderEcho does the same with the other library.
func coderEcho(w http.ResponseWriter, r *http.Request) {
	conn, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: coder.CompressionContextTakeover})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

func dialGorilla(t testing.TB, address string) *gorilla.Conn {
	t.Helper()
	dialer := gorilla.Dialer{HandshakeTimeout: patience, EnableCompression: true}
	conn, resp, err := dialer.Dial("ws://"+address+"/ws", nil)
	if err != nil {
		t.Fatalf("%v, %+v", err, resp)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	conn.SetWriteDeadline(time.Now().Add(patience))
	return conn
}

// converseGorilla has a client of gorilla/websocket use a server that echoes: pings, messages of all sizes, and the closing handshake.
func converseGorilla(t testing.TB, address string) {
	t.Helper()
	conn := dialGorilla(t, address)
	ponged := make(chan string, 1)
	conn.SetPongHandler(func(data string) error { ponged <- data; return nil })
	if err := conn.WriteControl(gorilla.PingMessage, []byte("hey"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 125, 126, 65_536, 1 << 20} {
		sent := bytes.Repeat([]byte{'a', 0}, size/2+1)[:size]
		if err := conn.WriteMessage(gorilla.BinaryMessage, sent); err != nil {
			t.Fatal(err)
		}
		kind, got, err := conn.ReadMessage()
		if err != nil || kind != gorilla.BinaryMessage || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: kind %d, %d bytes, %v", size, kind, len(got), err)
		}
	}
	if data := await(t, "the pong", ponged); data != "hey" {
		t.Errorf("pong %q", data)
	}
	if err := conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "bye")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
		t.Errorf("after the closing handshake: %v", err)
	}
	conn.Close()
}

// converseCoder does the same with a client of coder/websocket.
func converseCoder(t testing.TB, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := coder.Dial(ctx, "ws://"+address+"/ws", &coder.DialOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	for _, size := range []int{0, 1, 65_536, 1 << 20} {
		sent := strings.Repeat("ü", size/2)
		if err := conn.Write(ctx, coder.MessageText, []byte(sent)); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := conn.Read(ctx); err != nil || kind != coder.MessageText || string(got) != sent {
			t.Fatalf("%d bytes: kind %v, %d bytes, %v", size, kind, len(got), err)
		}
	}
	readCtx := conn.CloseRead(ctx) // pongs are taken by a reader
	if err := conn.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := conn.Close(coder.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("closing handshake: %v", err)
	}
	<-readCtx.Done()
}

var echoes = map[string]http.HandlerFunc{"gorilla": gorillaEcho, "coder": coderEcho}

// Both libraries serve both, many at a time, and hold no place in the pool.
func TestAdaptedWebSocket(t *testing.T) {
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := start(t, "workers {\n  min = 1\n  max = 2\n}\n", routes{"GET /ws": web.HTTP(echo), "GET /x": text("x")})
			var clients sync.WaitGroup
			for i := range 12 {
				clients.Go(func() {
					if i%2 == 0 {
						converseGorilla(t, tc.address)
					} else {
						converseCoder(t, tc.address)
					}
				})
			}
			clients.Wait()
			conns := make([]*gorilla.Conn, 5)
			for i := range conns {
				conns[i] = dialGorilla(t, tc.address)
			}
			if r := tc.dial().get("/x"); string(r.Body) != "x" {
				t.Errorf("%d beside five WebSockets and two workers", r.Status)
			}
			for i, conn := range conns { // all are alive
				message := fmt.Sprint(i)
				if err := conn.WriteMessage(gorilla.TextMessage, []byte(message)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := conn.ReadMessage(); err != nil || string(got) != message {
					t.Fatalf("%q, %v", got, err)
				}
				conn.Close()
			}
			tc.until("the handlers have closed their connections", func(l *loop) bool { return len(l.detached) == 0 })
		})
	}
}

// A request that is no handshake gets the library's refusal.
func TestAdaptedWebSocketRefused(t *testing.T) {
	for name, echo := range echoes {
		tc := start(t, "", routes{"GET /ws": web.HTTP(echo)})
		p := tc.dial()
		want := map[string]int{"gorilla": 400, "coder": 426}[name]
		if r := p.get("/ws"); r.Status != want || r.Close {
			t.Errorf("%s: %d, close %v", name, r.Status, r.Close)
		}
		if r := p.get("/ws"); r.Status != want {
			t.Errorf("%s: %d the second time", name, r.Status)
		}
	}
}

// A drain leaves a WebSocket until its timeout, and ends it then.
func TestAdaptedWebSocketDrain(t *testing.T) {
	for name, echo := range echoes {
		tc := start(t, "", routes{"GET /ws": web.HTTP(echo)})
		conn := dialGorilla(t, tc.address)
		tc.drain(timeoutShort, 0)
		if err := conn.WriteMessage(gorilla.TextMessage, []byte("still here")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for {
			_, got, err := conn.ReadMessage()
			if err == nil && string(got) == "still here" {
				continue
			}
			var closed *gorilla.CloseError
			if !errors.As(err, &closed) || closed.Code != gorilla.CloseAbnormalClosure {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			break
		}
		await(t, "the end of the child", tc.ended)
	}
}
