listen "main" {
  address = "127.0.0.1:8080"
}
limits {
  body = "10M"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
