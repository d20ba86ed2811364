package coding_test

import (
	"fmt"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
)

func Example() {
	var request web.Header
	request.Add("Accept-Encoding", "gzip, br;q=0.9, *;q=0")
	best, plain := coding.Read(&request).Best([]coding.Coding{coding.Zstd, coding.Brotli, coding.Gzip})
	fmt.Println(best, best.Tag(`"v1"`), plain)
	// Output: gzip "v1-gzip" false
}
