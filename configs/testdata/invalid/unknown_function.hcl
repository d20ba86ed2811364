listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/" {
    function "helo" {}
  }
  route "/b" {
    function "frobnicate" {}
  }
  route "/c" {
    function {}
  }
}
