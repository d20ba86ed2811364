drain_timeout = "30s" pin = true
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/a" {
    function "hello" {}
  } route "/b" {
    function "echo" {}
  }
}
