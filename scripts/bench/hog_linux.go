package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// runHog is `bench hog`: one connection that sends requests for one path as fast as the
// server takes them, and reads the answers as fast as they come.
func runHog(args []string) error {
	flags := flag.NewFlagSet("hog", flag.ExitOnError)
	address := flags.String("address", "", "server")
	path := flags.String("path", "/plain", "path to ask for")
	seconds := flags.Float64("seconds", 3, "how long")
	_ = flags.Parse(args)

	c, err := net.Dial("tcp4", *address)
	if err != nil {
		return err
	}
	defer c.Close()
	// Both directions end at the deadline, whatever the server does.
	if err := c.SetDeadline(time.Now().Add(time.Duration(*seconds * float64(time.Second)))); err != nil {
		return err
	}
	var sent, received atomic.Int64
	wrote := make(chan error, 1)
	go func() {
		one := request(*path)
		batch := []byte(strings.Repeat(one, max(1, 64<<10/len(one))))
		for {
			n, err := c.Write(batch)
			sent.Add(int64(n))
			if err != nil {
				wrote <- err
				return
			}
		}
	}()
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.Read(buffer)
		received.Add(int64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the server has closed the hog's connection")
		}
		if err != nil {
			return err
		}
	}
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(hogReport{Sent: sent.Load(), Received: received.Load()})
}
