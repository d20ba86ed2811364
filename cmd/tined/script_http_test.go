package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// flags are a script command's.
type flags struct {
	*flag.FlagSet
	ts *testscript.TestScript
}

func newFlags(ts *testscript.TestScript, neg bool, name string) flags {
	if neg {
		ts.Fatalf("%s cannot be negated", name)
	}
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(ts.Stderr())
	return flags{set, ts}
}

func (f flags) parse(args []string) { f.ts.Check(f.FlagSet.Parse(args)) }

// dial connects to "HOST:PORT" or "unix:PATH".
func dial(address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.DialTimeout(network, address, patience)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "http")
	bodyOnly := flags.Bool("body", false, "")
	text := flags.String("d", "", "")
	file := flags.String("f", "", "")
	chunked := flags.Bool("chunked", false, "")
	unixPath := flags.String("unix", "", "")
	flags.parse(args)
	if flags.NArg() < 2 {
		ts.Fatalf("usage: http [-body] [-d TEXT | -f FILE] [-chunked] [-unix PATH] METHOD URL ['Field: value']...")
	}
	body := []byte(*text)
	if *file != "" {
		body = []byte(ts.ReadFile(*file))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, flags.Arg(0), flags.Arg(1), bytes.NewReader(body))
	ts.Check(err)
	if *chunked {
		request.ContentLength = -1
	}
	if len(body) == 0 {
		request.Body = http.NoBody
	}
	for _, field := range flags.Args()[2:] {
		name, value, ok := strings.Cut(field, ":")
		if !ok {
			ts.Fatalf("http: %q is no field", field)
		}
		if strings.EqualFold(name, "Host") {
			request.Host = strings.TrimSpace(value)
			continue
		}
		request.Header.Add(name, strings.TrimSpace(value))
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	if *unixPath != "" {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return dial("unix:" + ts.MkAbs(*unixPath)) }
	}
	response, err := transport.RoundTrip(request)
	ts.Check(err)
	printResponse(ts, response, *bodyOnly)
}

// printResponse prints the status, the fields in the order of their names, and the body.
func printResponse(ts *testscript.TestScript, r *http.Response, bodyOnly bool) {
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	out := ts.Stdout()
	if !bodyOnly {
		fmt.Fprintln(out, r.Status)
		if len(r.TransferEncoding) > 0 {
			r.Header.Set("Transfer-Encoding", strings.Join(r.TransferEncoding, ", "))
		}
		if r.Close {
			r.Header.Set("Connection", "close") // net/http takes it out
		}
		var lines []string
		for name, values := range r.Header {
			if name == "Date" {
				values = []string{"…"}
			}
			for _, v := range values {
				lines = append(lines, name+": "+v)
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(out, "%s\n\n", strings.Join(lines, "\n"))
	}
	_, err = out.Write(body)
	ts.Check(err)
}

// wire turns a script's file into bytes for the wire.
func wire(ts *testscript.TestScript, file string) []byte {
	return []byte(strings.ReplaceAll(ts.ReadFile(file), "\n", "\r\n"))
}

func cmdRaw(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "raw")
	half := flags.Bool("half", false, "")
	flags.parse(args)
	if flags.NArg() != 2 {
		ts.Fatalf("usage: raw [-half] ADDR FILE")
	}
	c, err := dial(flags.Arg(0))
	ts.Check(err)
	defer c.Close()
	_, err = c.Write(wire(ts, flags.Arg(1)))
	ts.Check(err)
	if *half {
		ts.Check(c.(interface{ CloseWrite() error }).CloseWrite())
	}
	answer, err := io.ReadAll(c)
	ts.Check(err)
	for line := range strings.Lines(strings.ReplaceAll(string(answer), "\r\n", "\n")) {
		if strings.HasPrefix(line, "Date: ") {
			line = "Date: …\n"
		}
		fmt.Fprint(ts.Stdout(), line)
	}
}

// conn is a connection that a script drives step by step.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func (w *world) conn(ts *testscript.TestScript, name string) *conn {
	c := w.conns[name]
	if c == nil {
		ts.Fatalf("there is no connection %q", name)
	}
	return c
}

func cmdDial(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "dial")
	flags.parse(args)
	if flags.NArg() != 2 {
		ts.Fatalf("usage: dial CONN ADDR")
	}
	c, err := dial(flags.Arg(1))
	ts.Check(err)
	worldOf(ts).conns[flags.Arg(0)] = &conn{c, bufio.NewReader(c)}
}

func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "send")
	flags.parse(args)
	if flags.NArg() != 2 {
		ts.Fatalf("usage: send CONN FILE")
	}
	_, err := worldOf(ts).conn(ts, flags.Arg(0)).Write(wire(ts, flags.Arg(1)))
	ts.Check(err)
}

func cmdRecv(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "recv")
	bodyOnly := flags.Bool("body", false, "")
	flags.parse(args)
	response, err := http.ReadResponse(worldOf(ts).conn(ts, flags.Arg(0)).in, nil)
	ts.Check(err)
	printResponse(ts, response, *bodyOnly)
}

func cmdEOF(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "eof")
	flags.parse(args)
	rest, err := io.ReadAll(worldOf(ts).conn(ts, flags.Arg(0)).in)
	ts.Check(err)
	if len(rest) > 0 {
		ts.Fatalf("eof: more bytes: %q", rest)
	}
}

func cmdHangup(ts *testscript.TestScript, neg bool, args []string) {
	flags := newFlags(ts, neg, "hangup")
	flags.parse(args)
	w := worldOf(ts)
	ts.Check(w.conn(ts, flags.Arg(0)).Close())
	delete(w.conns, flags.Arg(0))
}
