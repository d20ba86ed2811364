listen "main" {
  address = "127.0.0.1:8080"
}
listen "main" {
  address = ":81"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
log {
}
log {
}
