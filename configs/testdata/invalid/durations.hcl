drain_timeout  = 10
orphan_timeout = "10 seconds"
listen "main" {
  address = "127.0.0.1:8080"
}
limits {
  head_timeout = "1d"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
