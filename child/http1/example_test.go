package http1_test

import (
	"fmt"

	"github.com/tined/tined/child/http1"
)

// Bytes arrive in pieces; the buffer always begins at the first byte of the message.
func ExampleParser() {
	pieces := []string{"GET /hello?na", "me=you HTTP/1.1\r\nHost: exam", "ple.com\r\n\r\nGET"}
	var parser http1.Parser
	var buf []byte
	for _, piece := range pieces {
		buf = append(buf, piece...)
		n, err := parser.Feed(buf, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 0 {
			continue
		}
		head := &parser.Head
		fmt.Printf("%s %s of %s, %d bytes\n", head.Method.In(buf), head.Path.In(buf), head.Host.In(buf), n)
		buf = buf[n:]
	}
	fmt.Printf("%q is left\n", buf)
	// Output:
	// GET /hello of example.com, 51 bytes
	// "GET" is left
}

// A body in pieces; payload is never copied.
func ExampleChunked() {
	pieces := []string{"5\r\nhel", "lo\r\n7\r\n, world\r\n0\r\nDig", "est: x\r\n\r\nGET"}
	var body http1.Chunked
	for _, piece := range pieces {
		src := []byte(piece)
		for len(src) > 0 && !body.Done() {
			n, data, _, err := body.Feed(src, nil)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("%s", data)
			src = src[n:]
		}
	}
	raw, trailers := body.Trailers()
	fmt.Printf("\n%s\n", trailers[0].Name.In(raw))
	// Output:
	// hello, world
	// Digest
}

func ExampleAppendField() {
	out := http1.AppendStatusLine(nil, 200)
	out = http1.AppendContentLength(out, 2)
	out, ok := http1.AppendField(out, "X-Name", "evil\r\nSet-Cookie: a=b")
	out = append(http1.AppendEnd(out), "hi"...)
	fmt.Printf("%q %v\n", out, ok)
	// Output:
	// "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" false
}
