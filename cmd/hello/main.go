// Hello is a whole prefork server in twelve lines.
package main

import "github.com/tined/tined"

func main() {
	tined.HandleFunc("GET /hello/{name}", func(r *tined.Request) string {
		return "Hello, " + r.PathValue("name") + "!\n"
	})
	tined.HandleFunc("GET /{$}", func(*tined.Request) string { return "Try /hello/you\n" })
	tined.Main()
}
