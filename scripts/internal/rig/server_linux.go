package rig

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// startPatience is how long a server may take until it answers.
const startPatience = 20 * time.Second

// Greeting is the body of the plaintext answer.
const Greeting = "Hello, World!"

// Site is what every server serves: the folder Root, and Greeting at /plain.
type Site struct {
	Root string
	// Deferred sets TCP_DEFER_ACCEPT on every server's listener.
	Deferred bool
	// Children is tined's and nginx's count of serving processes.
	Children int
	// Routes are further route blocks of tined's.
	Routes string
	// Copied turns nginx's sendfile off.
	Copied bool
}

// Server is a running server.
type Server struct {
	*Process
	Address string // 127.0.0.1:port
	Control string // path of tined's control socket, "" of other servers
}

// URL of a path on it.
func (s *Server) URL(path string) string { return "http://" + s.Address + path }

// Port that it listens on.
func (s *Server) Port() uint16 {
	_, port, _ := net.SplitHostPort(s.Address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

// FreePort finds a loopback address that nobody listens on. Somebody may take it before
// the caller does: a server that cannot bind says so, and the run fails.
func FreePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Nginx starts nginx. Its folder holds its configuration and log.
func Nginx(c *Crew, core Core, program, folder string, site Site) (*Server, error) {
	address, err := FreePort()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, []byte(nginxConfig(address, folder, site)), 0o644); err != nil {
		return nil, err
	}
	return serve(c, core, address, nil, program, "-p", folder, "-c", path, "-e", filepath.Join(folder, "nginx-error.log"))
}

// nginxConfig is nginx at its best for these cases: files stay open, nothing is logged, a
// connection lives for ever, a head and its file leave in one packet.
func nginxConfig(address, folder string, site Site) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // the temporary folder is ours alone
	}
	deferred := ""
	if site.Deferred {
		deferred = " deferred"
	}
	sendfile := "on"
	if site.Copied {
		sendfile = "off"
	}
	return fmt.Sprintf(`daemon off;
%[1]sworker_processes %[2]d;
worker_rlimit_nofile 65535;
pid %[3]s/nginx.pid;
error_log %[3]s/nginx-error.log error;
events {
  worker_connections 16384;
}
http {
  access_log off;
  sendfile %[8]s;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  open_file_cache max=20000 inactive=3600s;
  open_file_cache_valid 3600s;
  default_type text/plain;
  client_body_temp_path %[3]s/client_body;
  proxy_temp_path %[3]s/proxy;
  fastcgi_temp_path %[3]s/fastcgi;
  uwsgi_temp_path %[3]s/uwsgi;
  scgi_temp_path %[3]s/scgi;
  server {
    listen %[4]s reuseport backlog=65535%[5]s;
    root %[6]s;
    location = /plain {
      return 200 "%[7]s";
    }
    location / {
    }
  }
}
`, user, max(site.Children, 1), folder, address, deferred, site.Root, Greeting, sendfile)
}

// Tined starts tined.
func Tined(c *Crew, core Core, program, folder string, site Site) (*Server, error) {
	address, err := FreePort()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "tined.hcl")
	if err := os.WriteFile(path, []byte(tinedConfig(address, site)), 0o644); err != nil {
		return nil, err
	}
	// The control socket and the children's go to our folder: a tined that serves this
	// machine is not met.
	runtime := filepath.Join(folder, "run")
	if err := os.MkdirAll(runtime, 0o700); err != nil {
		return nil, err
	}
	s, err := serve(c, core, address, []string{"RUNTIME_DIRECTORY=" + runtime}, program, "run", "-c", path)
	if err != nil {
		return nil, err
	}
	s.Control = filepath.Join(runtime, "control.sock")
	return s, nil
}

func tinedConfig(address string, site Site) string {
	deferred := ""
	if site.Deferred {
		deferred = "\n  deferred = true"
	}
	return fmt.Sprintf(`children = %d

listen "main" {
  address = %q%s
}

site "bench" {
  route "GET /plain" {
    respond {
      body         = %q
      content_type = "text/plain"
    }
  }
  route "/" {
    static {
      root = %q
    }
  }
%s}
`, max(site.Children, 1), address, deferred, Greeting, site.Root, site.Routes)
}

// Limit starts scripts/limit, which answers everything with one body.
func Limit(c *Crew, core Core, program string, body int64, closing, deferred bool) (*Server, error) {
	address, err := FreePort()
	if err != nil {
		return nil, err
	}
	return serve(c, core, address, nil, program, "-listen", address, "-body", strconv.FormatInt(body, 10),
		"-close="+strconv.FormatBool(closing), "-deferred="+strconv.FormatBool(deferred))
}

// Other starts a server of another kind, which must answer GET /plain as well. args makes its arguments for the address it is to listen on.
func Other(c *Crew, core Core, env []string, program string, args func(address string) []string) (*Server, error) {
	address, err := FreePort()
	if err != nil {
		return nil, err
	}
	return serve(c, core, address, env, program, args(address)...)
}

// serve starts a server and waits until it answers.
func serve(c *Crew, core Core, address string, env []string, name string, args ...string) (*Server, error) {
	p, err := c.Start(core, env, name, args...)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, Address: address}
	deadline := time.Now().Add(startPatience)
	for {
		if err = s.probe(); err == nil {
			return s, nil
		}
		select {
		case <-p.Ended():
			return nil, fmt.Errorf("%s has ended at once (%v): %s", name, p.status, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.End()
			return nil, fmt.Errorf("%s does not answer on %s: %w: %s", name, address, err, p.Output())
		}
	}
}

// probe asks for /plain once, on a connection of its own.
func (s *Server) probe() error {
	conn, err := net.DialTimeout("tcp4", s.Address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(startPatience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /plain HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /plain: %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
