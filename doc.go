// Package tined makes a prefork HTTP server of a Go program: a master that supervises, one child per core that serves with its own
// listening socket, event loop and workers, and the command line that goes with them.
//
// A whole server:
//
//	package main
//
//	import "github.com/tined/tined"
//
//	func main() {
//		tined.HandleFunc("GET /hello/{name}", func(r *tined.Request) string {
//			return "Hello, " + r.PathValue("name") + "!\n"
//		})
//		tined.Main()
//	}
//
// Started without arguments it serves on http://127.0.0.1:8080. Its other commands (run -c FILE, check, status, stop, version) are
// those of tined itself. Under go run it is one process, as it is with run --single-process.
//
// # Handlers
//
// A handler is a function from a request to a string (HandleFunc), a function that fills a Response (HandlerFunc), or any http.Handler
// (HTTP). Handle adds one to the default site under a pattern of net/http.ServeMux's syntax. Func gives a function a name instead, for
// configurations that say where it is served:
//
//	route "GET /hello/{name}" {
//	  function "hello" {}
//	}
//
// # Processes
//
// main runs in every process, in the master and in each child: what it does before Main is done there too. Handlers run in the children
// only, on several goroutines at a time. Children do not share memory: a cache, a counter or a session in a variable is each child's own.
//
// What is to be done once, or in each child, is a hook: OnMaster, OnChildStart, OnReady, OnDrain, OnExit. What all children share is a
// SharedCounter or a SharedValue. docs/library.md says what else prefork changes, and when it is slower.
//
// What a handler sees is documented whole in package child/web.
//
// Package child/web/webtest tests a handler without processes, package child/web/webtest/servertest a program with them.
//
// tined runs on Linux only.
package tined
