package main

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
	PerByte     bool // CPU is counted per byte, not per request
	// ToNginx is the bar against nginx: the ratio of CPU, or of throughput when AtLeast.
	ToNginx Bar
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
		ToNginx: Bar{What: cpuRatio, Value: 1.05}},
	{Name: "new-connection", Path: plainPath, Body: 13, Connections: 64, Close: true,
		ToNginx: Bar{What: cpuRatio, Value: 1.05}},
}

// files of the site, by the cases' paths.
func files() map[string]int64 {
	all := make(map[string]int64)
	for _, c := range cases {
		if c.Path != plainPath && c.Path != pooledPath {
			all[c.Path] = c.Body
		}
	}
	return all
}
