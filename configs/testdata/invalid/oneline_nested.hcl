listen "main" {
  address = "127.0.0.1:8080"
}

site "main" {
  route "/" { static { root = "/srv/www" } }
  route "GET /hello/{name}" { function "hello" {} }
  route "/a" { respond { status = 200 body = "a" } }
}
