listen "main" {
  address = ":80"
}
site "main" {
  route "/" {
    function "hello" {}
  }
}
