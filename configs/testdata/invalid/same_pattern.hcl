listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "GET /a/{x}" {
    function "hello" {}
  }
  route "GET /a/{y}" {
    function "echo" {}
  }
  route "/b" {
    function "echo" {}
  }
  route "/b" {
    function "hello" {}
  }
}
