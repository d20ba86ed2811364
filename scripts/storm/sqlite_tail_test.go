package main

import (
	"slices"
	"testing"
)

func TestTailIDs(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		want       []int64
		wrong      bool
	}{
		{"application/json", `{"rows":[{"id":3,"writer":1},{"id":2}]}`, []int64{3, 2}, false},
		{"application/json", `{"rows":[]}`, nil, false},
		{"application/json", `{"rows":[{"id":3`, nil, true},
		{"application/x-ndjson", "{\"id\":3}\n{\"id\":2}\n{\"$end\":{\"rows\":2}}\n", []int64{3, 2}, false},
		{"application/x-ndjson", "{\"id\":3}\n{\"id\":2}\n", nil, true},
		{"application/x-ndjson", "{\"$end\":{\"rows\":0}}\n{\"id\":3}\n", nil, true},
		{"text/csv; charset=utf-8", "id,writer\r\n3,1\r\n2,1\r\n", []int64{3, 2}, false},
		{"text/csv", "id\r\nx\r\n", nil, true},
		{"text/csv", "", nil, true},
		{"text/html", "", nil, true},
	} {
		got, err := tailIDs(c.kind, []byte(c.body))
		if (err != nil) != c.wrong || !c.wrong && !slices.Equal(got, c.want) {
			t.Errorf("%s %q: %v, %v; want %v", c.kind, c.body, got, err, c.want)
		}
	}
}
