listen "main" {
  address = "127.0.0.1:8080"
}
listen "again" {
  address = "localhost:8080"
}
listen "all" {
  address = ":80"
}
listen "all6" {
  address = "[::]:80"
}
listen "s1" {
  address = "unix:web.sock"
}
listen "s2" {
  address = "unix:/etc/tined/web.sock"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
