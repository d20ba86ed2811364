package sqlite

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPageHTML(t *testing.T) {
	s := describedService(t)
	page := s.pageHTML()
	if !bytes.Equal(page, s.pageHTML()) {
		t.Error("the same service has two pages")
	}
	if !utf8.Valid(page) {
		t.Error("the page is no UTF-8")
	}
	text := string(page)
	for _, want := range []string{
		`<code>/db/shop/items/{id}</code>`, `<span class="method writes">DELETE</span>`, `For the roles reader and near.`, `id="shop_item"`, `2 databases and all files of a directory, 12 queries`,
		`<option value="basic">`, `<option value="bearer">`, `SQL of one’s own: <code>/db/shop/db/query</code>, <code>/db/shop/db/execute</code>. For the role reader.`,
		`the item's number (integer, 1 or more)`, `&lt;img src=x`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// The elements of the page are its own: what is hostile has made none, and no attribute that runs.
	for _, forbidden := range []string{`<img`, ` on[a-z]+=`, `style=`, `\x{202e}`, `\{\{`, `https?://`} {
		body := text[strings.Index(text, "<body"):strings.LastIndex(text, "<script>")]
		body = strings.ReplaceAll(body, " onerror=&#34;", "")
		if at := regexp.MustCompile(forbidden).FindString(body); at != "" {
			t.Errorf("the page has %q", at)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("the page has %d scripts", n)
	}
}

// What stands inline is what the policy names, and ends where it should.
func TestPagePolicy(t *testing.T) {
	text := string((&service{base: "/"}).pageHTML())
	policy := pagePolicy()
	for name, source := range map[string]string{"script": pageScript, "style": pageStyle} {
		if strings.Contains(strings.ToLower(source), "</"+name) || strings.Contains(source, "<!--") || strings.Contains(source, "\r") {
			t.Errorf("the page's %s ends too early, or is read as another", name)
		}
		if !strings.Contains(text, "<"+name+">"+source+"</"+name+">") {
			t.Errorf("the page's %s is not what its hash is of", name)
		}
		if !strings.Contains(policy, name+"-src "+hashOf(source)) {
			t.Errorf("the policy does not name the %s", name)
		}
	}
	if strings.Contains(policy, "unsafe") || !strings.HasPrefix(policy, "default-src 'none';") {
		t.Error("the policy is weak:", policy)
	}
	for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "localStorage", "sessionStorage", "document.cookie"} {
		if strings.Contains(pageScript, word) {
			t.Errorf("the page's script has %s", word)
		}
	}
}

func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{hostileMark, hostileEnd, hostileJS, "\xff\u202e\x00", "a\u2066b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendText(nil, s)
		if bytes.ContainsAny(b, `<>"`) || !utf8.Valid(b) || bytes.ContainsAny(b, "\u202a\u202b\u202d\u202e\u2066\x00") {
			t.Errorf("%q became %q", s, b)
		}
	})
}

// pageServer serves the page of a service, and answers queries as the tests say.
func pageServer(t *testing.T, s *service, answer http.HandlerFunc) string {
	t.Helper()
	page := s.pageHTML()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != s.base {
			answer(w, r)
			return
		}
		for _, f := range pageFields() {
			w.Header().Set(f.Name, f.Value)
		}
		_, _ = w.Write(page) // the browser has gone
	}))
	t.Cleanup(server.Close)
	return server.URL + s.base
}

// onPage is there before the page's script: it keeps what goes wrong, and gives tests words for what people do.
const onPage = `
	window.wrongs = [];
	addEventListener("error", (e) => wrongs.push("error " + e.message));
	addEventListener("unhandledrejection", (e) => wrongs.push("rejection " + e.reason));
	document.addEventListener("securitypolicyviolation", (e) => wrongs.push("policy " + e.effectiveDirective));
	window.field = (id, name) => [...document.querySelectorAll("#" + id + " [data-param]")].find((c) => c.dataset.param === name);
	window.type = (id, name, value) => { const c = field(id, name); c.value = value; c.dispatchEvent(new Event("input", { bubbles: true })); };
	window.change = (id, value) => {
		const control = document.getElementById(id);
		control.value = value;
		control.dispatchEvent(new Event("input", { bubbles: true }));
	};
	window.curl = (id) => document.querySelector("#" + id + " .line pre").textContent;
	window.alarm = (id) => document.querySelector("#" + id + " [role=alert]").textContent;
	window.press = (id) => {
		document.getElementById(id).open = true;
		document.querySelector("#" + id + " .send button").click();
	};
	// The line beside the button says when an answer is there.
	window.answered = (id) => new Promise((done) => {
		const state = document.querySelector("#" + id + " .state"), place = document.querySelector("#" + id + " .answer");
		const look = () => { if (state.textContent !== "Asking…" && place.childElementCount > 0) { seen.disconnect(); done(place.innerText); } };
		const seen = new MutationObserver(look);
		seen.observe(document.getElementById(id), { subtree: true, childList: true, characterData: true });
		look();
	});
	window.try_ = (id) => { document.querySelector("#" + id + " .answer").replaceChildren(); press(id); return answered(id); };
	window.cells = (id) => [...document.querySelectorAll("#" + id + " tr")].map((tr) => [...tr.children].map((c) => c.textContent).join("|")).join("\n");
`

// A pageTest is a browser that has a page before it.
type pageTest struct {
	*browser
	url      string
	requests chan *http.Request // that the page has sent
}

func (p *pageTest) expect(what, got, want string) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("%s: %q, and not %q", what, got, want)
	}
}

func (p *pageTest) contains(what, got, want string) {
	p.t.Helper()
	if !strings.Contains(got, want) {
		p.t.Errorf("%s: %q has no %q", what, got, want)
	}
}

func TestPageInBrowser(t *testing.T) {
	p := &pageTest{browser: openBrowser(t), requests: make(chan *http.Request, 100)}
	p.url = pageServer(t, describedService(t), p.answer)
	p.open(p.url, onPage)
	for _, c := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"a row", p.tryARow},
		{"pages", p.tryPages},
		{"refused", p.tryRefused},
		{"not sent", p.tryNotSent},
		{"commands", p.tryCommands},
		{"credentials", p.tryCredentials},
		{"formats", p.tryFormats},
		{"paths", p.tryPaths},
		{"hostile", p.tryHostile},
		{"policy", p.tryPolicy},
		{"looks", p.tryLooks},
		{"labels", p.tryLabels},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func(outer *testing.T) { p.t = outer }(p.t)
			p.t = t
			c.test(t)
		})
	}
}

// answer is the server behind the page.
func (p *pageTest) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" {
		http.NotFound(w, r)
		return
	}
	p.requests <- r
	send := func(status int, kind, text string) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text)) // the browser has gone
	}
	switch {
	case r.URL.EscapedPath() == "/db/shop/items/7":
		send(200, "application/json", `{"id":9007199254740993,"name":"a\tb","price":1.0,"photo":{"$base64":"AAEC"},"added":null,"upper(name)":"<b>A</b>"}`)
	case r.URL.Path == "/db/shop/items/8":
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		send(401, "application/problem+json", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"credentials are wanted","code":"unauthorized"}`)
	case r.URL.Path == "/db/shop/items" && r.URL.Query().Get("after") == "2":
		send(200, "application/json", `{"rows":[{"id":3}]}`)
	case r.URL.Path == "/db/shop/items" && r.Header.Get("Accept") == "text/csv, application/problem+json":
		send(200, "text/csv", "id\r\n1\r\n")
	case r.URL.Path == "/db/shop/items" && r.URL.Query().Get("limit") == "0":
		send(400, "application/problem+json", `{"status":400,"title":"Bad Request","detail":"parameter \"limit\" is less than 1","code":"parameter"}`)
	case r.URL.Path == "/db/shop/items" && r.URL.Query().Get("limit") == "3":
		send(200, "application/json", `{"rows":[{"id":1}],"error":{"code":"timeout","message":"the statement took longer than it may"}}`)
	case r.URL.Path == "/db/shop/items":
		send(200, "application/json", `{"rows":[{"2":-1,"1":"one"},{"2":2e3,"1":"`+strings.Repeat("long ", 30)+`"}],"next":"?after=2&limit=2"}`)
	default:
		send(200, "application/json", `{"rows":[{"`+strings.ReplaceAll(hostileMark, `"`, `\"`)+`":"`+strings.ReplaceAll(hostileEnd, `"`, `\"`)+`","__proto__":"p","1":1}]}`)
	}
}

func (p *pageTest) tryARow(t *testing.T) {
	p.eval(`type("shop_item", "id", "7"); try_("shop_item")`, nil)
	p.expect("table", p.text(`cells("shop_item")`), "id|name|price|photo|added|upper(name)\n9007199254740993|a\tb|1.0|3 bytes: AAEC|NULL|<b>A</b>")
	p.contains("state", p.text(`document.querySelector("#shop_item .state").textContent`), "200 OK, 1 row, ") // and the time
	p.expect("curl", p.text(`curl("shop_item")`), "curl '"+p.url+"shop/items/7'")
	p.expect("link", p.text(`document.querySelector("#shop_item .answer a").href`), p.url+"shop/items/7")
	if r := <-p.requests; r.Method != "GET" || r.Header.Get("Accept") != "application/json, application/problem+json" || r.Header.Get("Authorization") != "" {
		t.Error(r.Method, r.Header)
	}
}

func (p *pageTest) tryPages(t *testing.T) {
	p.eval(`try_("shop_items")`, nil)
	p.expect("query string", (<-p.requests).URL.RawQuery, "")
	p.contains("order of the columns", p.text(`cells("shop_items")`), "2|1\n-1|one\n2e3|long")
	p.eval(`new Promise((done) => {
		new MutationObserver(() => { if (cells("shop_items") === "id\n3") done(); }).observe(document.getElementById("shop_items"), { subtree: true, childList: true });
		document.querySelector("#shop_items .tools button").click();
	})`, nil)
	p.expect("query string", (<-p.requests).URL.RawQuery, "after=2&limit=2")
	if n := p.text(`String(document.querySelectorAll("#shop_items .tools").length)`); n != "0" {
		t.Error("the last page has a next one")
	}
}

func (p *pageTest) tryRefused(t *testing.T) {
	p.eval(`type("shop_items", "limit", "0"); try_("shop_items")`, nil)
	p.expect("query string", (<-p.requests).URL.RawQuery, "limit=0")
	p.expect("sentence", p.text(`alarm("shop_items")`), `Parameter "limit" is less than 1. (parameter)`)
	p.expect("marked", p.text(`String(document.activeElement === field("shop_items", "limit") && field("shop_items", "limit").getAttribute("aria-invalid"))`), "true")
	p.eval(`type("shop_items", "limit", "3"); try_("shop_items")`, nil)
	<-p.requests
	p.contains("cut", p.text(`document.querySelector("#shop_items .answer").innerText`), "The rows end too early: the statement took longer than it may.")
	p.eval(`type("shop_items", "limit", "")`, nil)
}

func (p *pageTest) tryNotSent(t *testing.T) {
	p.expect("empty", p.text(`type("shop_item", "id", ""); press("shop_item"); alarm("shop_item")`), "“id” is part of the path: it cannot be empty.")
	p.expect("dots", p.text(`type("shop_file", "path", "a/../b"); press("shop_file"); alarm("shop_file")`), "“path” cannot be “.” or “..” in a URL.")
}

func (p *pageTest) tryCommands(t *testing.T) {
	p.expect("add", p.text(`type("shop_add", "name", "it's"); type("shop_add", "price", "12345678901234567890.10"); type("shop_add", "tags", "[1, 2]"); type("shop_add", "kept", "false");
		document.querySelectorAll("#shop_add [data-null]")[0].click(); press("shop_add"); curl("shop_add")`),
		`curl -X POST -H 'Content-Type: application/json' -d '{"name":"it'\''s","price":12345678901234567890.10,"photo":null,"tags":[1, 2],"kept":false}' '`+p.url+`shop/items'`)
	p.expect("remove", p.text(`type("shop_remove", "id", "1"); type("shop_remove", "sure", "1"); press("shop_remove"); curl("shop_remove")`),
		`curl -X DELETE '`+p.url+`shop/items/1?sure=1'`)
	p.contains("wrong JSON", p.text(`type("shop_add", "tags", "[1"); press("shop_add"); alarm("shop_add")`), "“tags” is no JSON: ")
	if len(p.requests) != 0 {
		t.Error("what writes was sent")
	}
}

func (p *pageTest) tryCredentials(t *testing.T) {
	p.eval(`type("shop_item", "id", "8"); try_("shop_item")`, nil)
	<-p.requests
	p.expect("sentence", p.text(`alarm("shop_item")`), "Credentials are wanted. (unauthorized) Give credentials above.")
	p.eval(`change("scheme", "bearer"); token.value = "t0k"; type("shop_item", "id", "7"); try_("shop_item")`, nil)
	p.expect("bearer", (<-p.requests).Header.Get("Authorization"), "Bearer t0k")
	p.expect("curl", p.text(`curl("shop_item")`), `curl -H "Authorization: Bearer $TOKEN" '`+p.url+`shop/items/7'`)
	p.eval(`change("scheme", "basic"); user.value = "änna"; password.value = "p:w"; try_("shop_item")`, nil)
	if user, password, _ := (<-p.requests).BasicAuth(); user != "änna" || password != "p:w" {
		t.Error(user, password)
	}
	p.expect("curl", p.text(`curl("shop_item")`), `curl -u 'änna' '`+p.url+`shop/items/7'`)
	p.expect("kept", p.text(`JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])`), `[0,0,""]`)
	p.eval(`change("scheme", "")`, nil)
}

func (p *pageTest) tryFormats(t *testing.T) {
	p.eval(`document.querySelector("#shop_items .as").value = "text/csv"; try_("shop_items")`, nil)
	<-p.requests
	p.expect("raw", p.text(`document.querySelector("#shop_items .more[open] pre").textContent`), "id\r\n1\r\n")
	p.expect("curl", p.text(`curl("shop_items")`), `curl -H 'Accept: text/csv' '`+p.url+`shop/items'`)
}

func (p *pageTest) tryPaths(t *testing.T) {
	p.eval(`type("shop_file", "path", "a b/ü?#"); try_("shop_file")`, nil)
	p.expect("rest", (<-p.requests).URL.EscapedPath(), "/db/shop/files/a%20b/%C3%BC%3F%23")
	p.eval(`type("any_size", "_database", "x/y"); type("any_size", "database", "d"); try_("any_size")`, nil)
	p.expect("segment", (<-p.requests).URL.EscapedPath(), "/db/x%2Fy/size/d")
}

func (p *pageTest) tryHostile(t *testing.T) {
	id := p.text(`[...document.querySelectorAll(".query")].find((q) => q.textContent.includes("caf%C3")).id`)
	p.eval(`type("`+id+`", "id", "'\"><script>window.broken=7</script>"); try_("`+id+`")`, nil)
	p.expect("query string", (<-p.requests).URL.RawQuery, "")
	p.expect("table", p.text(`cells("`+id+`")`), hostileMark+"|__proto__|1\n"+hostileEnd+"|p|1")
	p.expect("elements", p.text(`String(document.querySelectorAll("img, body script:not(main + script)").length)`), "0")
	p.expect("broken", p.text(`String(window.broken)`), "undefined")
	p.expect("wrongs", p.text(`wrongs.join()`), "")
}

// Even a mistake of the page's own would run nothing.
func (p *pageTest) tryPolicy(t *testing.T) {
	p.eval(`document.body.append(Object.assign(document.createElement("img"), { src: "data:,", onerror: null }));
		document.querySelector("img").setAttribute("alt", ""); document.querySelector("img").remove();`, nil)
	p.expect("no HTML of a text", p.text(`try { document.createElement("p").innerHTML = "<b>"; "made" } catch (e) { e.name }`), "TypeError")
	p.expect("no script of a text", p.text(`try { const s = document.createElement("script"); s.textContent = "window.broken=8"; document.body.append(s) } catch {} String(window.broken)`), "undefined")
	p.expect("no other server", p.text(`fetch("http://127.0.0.1:1/").then(() => "sent", (e) => e.name)`), "TypeError")
	p.contains("told", p.text(`wrongs.join()`), "policy connect-src")
}

func (p *pageTest) tryLooks(t *testing.T) {
	p.open("about:blank", "") // else only the fragment is another
	p.open(p.url+"#shop_item", onPage)
	p.expect("opened by its link", p.text(`String(document.getElementById("shop_item").open)`), "true")
	p.expect("find", p.text(`change("find", "post items"); hits.textContent + [...document.querySelectorAll(".query:not([hidden])")].map((q) => q.id)`), "1 hitshop_add")
	p.eval(`change("find", ""); type("shop_item", "id", "7"); try_("shop_item")`, nil)
	p.eval(`document.querySelector("#shop_item .more").open = true`, nil)
	p.screenshot("desktop", 1200, 1000, false)
	p.screenshot("dark", 1200, 1000, true)
	p.screenshot("phone", 390, 1400, false)
	p.resize(320, 800)
	p.expect("wider than the phone", p.text(`[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 320 && !e.closest(".scroll")).map((e) => e.outerHTML.slice(0, 100)).join()`), "")
	p.eval(`document.getElementById("shop_item").open = false; document.getElementById("shop_items").open = true; try_("shop_items")`, nil)
	p.screenshot("page", 1000, 1200, false)
	p.eval(`document.getElementById("shop_items").open = false; type("shop_add", "name", "lamp"); press("shop_add"); document.getElementById("shop_add").scrollIntoView()`, nil)
	p.screenshot("write", 1000, 1300, true)
	p.screenshot("write-phone", 390, 1400, true)
}

// Each control has a name that is read out, and what is focused is seen.
func (p *pageTest) tryLabels(t *testing.T) {
	p.expect("without a label", p.text(`[...document.querySelectorAll("input, select, textarea")].filter((c) => c.labels.length === 0).map((c) => c.id).join()`), "")
	p.expect("twice", p.text(`[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i).join()`), "")
	p.expect("described", p.text(`[...document.querySelectorAll("[aria-describedby]")].filter((e) => !document.getElementById(e.getAttribute("aria-describedby"))).length + ""`), "0")
}
