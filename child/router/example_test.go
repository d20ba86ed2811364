package router_test

import (
	"fmt"

	"github.com/tined/tined/child/router"
	"github.com/tined/tined/child/web"
)

func Example() {
	var routes web.Patterns[string]
	pattern, err := web.ParsePattern("GET /posts/{id}")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := routes.Add(pattern, "show a post"); err != nil {
		fmt.Println(err)
		return
	}
	r, err := router.New([]router.Site[string]{
		{Name: "blog", Hosts: []string{"*.blog.example"}, Listeners: []int{0}, Routes: &routes},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var m web.Match
	value, site, result := r.Lookup(0, "Anna.blog.example:8080", "GET", "/posts/7", &m)
	fmt.Println(value, site, result, m.Param("id"))
	// Output: show a post 0 Found 7
}
