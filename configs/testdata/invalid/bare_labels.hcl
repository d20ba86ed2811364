listen main {
  address = ":80"
}
site example.com {
  route GET /hello/{name} {
    function hello {}
  }
  route /static/ { static { root = "x" } }
  route /img/ {
    statik {
    }
  }
}
