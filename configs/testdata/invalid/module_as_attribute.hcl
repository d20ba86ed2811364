listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/" {
    static = "/srv/www"
  }
  route "/b" {
    proxy = "http://127.0.0.1"
  }
}
