listen "main" = {
  address = "127.0.0.1:8080"
}
log = {
  level = "info"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
