package main

import "fmt"

// Names of the servers, in the order in which each round asks them.
const (
	nginx = "nginx"
	tined = "tined"
	limit = "limit"
	// inline is the same tined, asked for what its loop answers by itself.
	inline = "tined-inline"
	// sleeper is the server of the case blocked (scripts/sleeper).
	sleeper = "sleeper"
)

// plainPath is answered by the loop; pooledPath by a function on a worker, with a body as long.
const (
	plainPath  = "/plain"
	pooledPath = "/pooled"
)

// pooledRoute is what tined serves at pooledPath.
const pooledRoute = `  route "GET ` + pooledPath + `" {
    function "hello" {}
  }
`

// idleCase is the name of the case that counts memory and not requests.
const idleCase = "idle-8000"

// Case is one kind of load.
type Case struct {
	Name        string
	Path        string
	Body        int64 // bytes of the answer's body
	Connections int
	Pipeline    int  // requests that a connection asks at once, 0: 1
	Close       bool // a new connection per request
	PerByte     bool // CPU and speed are counted per byte, not per request
	Status      int  // of every answer, 0: 200
	// Files, if not 0, is how many distinct files in the folder Path are asked for at random.
	Files int
	// Of, if not 0, is the length in bytes of the file Path, of which ranges of Body bytes at random offsets are asked for.
	Of int64
	// Rows, if not 0, is how many rows of a database are asked for at random: Path and a number from 1, as RowFormat has it for Go and for Lua.
	Rows      int
	RowFormat string
	// Insert: a row is posted to Path.
	Insert bool
	// ToNginx is the bar against nginx: the ratio of CPU, or of throughput when AtLeast. Also is another one.
	ToNginx, Also Bar
	// ToLimit is the bar for the ratio of CPU against the limit's, if its Value is not 0.
	ToLimit Bar
	// ToInline is the bar for the ratio of CPU against the same server's at plainPath. If its Value is not 0, only tined
	// takes part.
	ToInline Bar
}

const (
	cpuRatio   = "CPU to nginx's"
	limitRatio = "CPU to the limit's"
	speedRatio = "req/s to nginx's"
	bytesRatio = "bytes/s to nginx's"

	inlineRatio = "CPU to the inline path's"
)

// cases of the comparison. The files are made by makeSite.
var cases = []Case{
	{Name: "plaintext-64", Path: plainPath, Body: 13, Connections: 64,
		ToNginx: Bar{What: cpuRatio, Value: 0.95}, ToLimit: Bar{What: limitRatio, Value: 1.2}},
	{Name: "plaintext-512", Path: plainPath, Body: 13, Connections: 512,
		ToNginx: Bar{What: cpuRatio, Value: 0.95}, ToLimit: Bar{What: limitRatio, Value: 1.2}},
	{Name: "pipelined-16", Path: plainPath, Body: 13, Connections: 64, Pipeline: 16,
		ToNginx: Bar{What: speedRatio, Value: 6, AtLeast: true}},
	{Name: "pooled-64", Path: pooledPath, Body: 13, Connections: 64,
		ToInline: Bar{What: inlineRatio, Value: 1.15}},
	{Name: "file-1k", Path: "/1k.txt", Body: 1 << 10, Connections: 64,
		ToNginx: Bar{What: cpuRatio, Value: 0.80}},
	{Name: "file-64k", Path: "/64k.txt", Body: 64 << 10, Connections: 64,
		ToNginx: Bar{What: cpuRatio, Value: 0.90}},
	{Name: "file-10m", Path: "/10m.txt", Body: 10 << 20, Connections: 16, PerByte: true,
		ToNginx: Bar{What: bytesRatio, Value: 0.95, AtLeast: true}, Also: Bar{What: cpuRatio, Value: 1.05}},
	{Name: "files-10000", Path: "/tree", Body: 4 << 10, Connections: 64, Files: 10_000,
		ToNginx: Bar{What: cpuRatio, Value: 0.95}},
	{Name: "range-16k", Path: "/1g.bin", Body: 16 << 10, Connections: 64, Of: 1 << 30, Status: 206,
		ToNginx: Bar{What: cpuRatio, Value: 1}},
	{Name: "new-connection", Path: plainPath, Body: 13, Connections: 64, Close: true,
		ToNginx: Bar{What: cpuRatio, Value: 1.05}},
}

// many reports that a case asks for more than one thing. The limit, which has one answer, takes no part in it.
func (c Case) many() bool { return c.Files > 0 || c.Of > 0 }

// treeFormat is a file's path in the folder of a case with many Files, for Go and for Lua: section, chapter and number.
const treeFormat = "/%02d/%02d/%04d.txt"

// Sections, and chapters of each: 10,000 files are 50 to a folder.
const (
	treeSections = 20
	treeChapters = 10
)

// treePath is where file number i is.
func treePath(i int) string {
	return fmt.Sprintf(treeFormat, i%treeSections, i/treeSections%treeChapters, i)
}

// files of the site with their lengths, for those cases that are wanted. The others' are there when they are few and small: clients of
// other measurements ask for them.
func files(wanted func(name string) bool) map[string]int64 {
	all := make(map[string]int64)
	for _, c := range cases {
		switch {
		case c.Path == plainPath || c.Path == pooledPath || c.many() && !wanted(c.Name):
		case c.Of > 0:
			all[c.Path] = c.Of
		case c.Files > 0:
			for i := range c.Files {
				all[c.Path+treePath(i)] = c.Body
			}
		default:
			all[c.Path] = c.Body
		}
	}
	return all
}
