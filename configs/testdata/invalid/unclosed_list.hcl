listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  hosts = ["example.com", "www.example.com"
  route "/" {
    function "hello" {}
  }
}
