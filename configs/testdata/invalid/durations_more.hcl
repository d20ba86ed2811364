drain_timeout  = "30"
orphan_timeout = "-5s"
listen "main" {
  address = "127.0.0.1:8080"
}
limits {
  head_timeout = "soon"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
