listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "GET example.com/" {
    function "hello" {}
  }
  route "GET" {
    function "echo" {}
  }
  route "/a/{x" {
    function "echo" {}
  }
}
