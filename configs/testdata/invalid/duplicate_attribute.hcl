pin = true
pin = false
listen "main" {
  address = ":80"
  address = ":81"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
