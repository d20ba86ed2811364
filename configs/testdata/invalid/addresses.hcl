listen "l0" {
  address = "8080"
}
listen "l1" {
  address = "127.0.0.1"
}
listen "l2" {
  address = "0.0.0.0"
}
listen "l3" {
  address = ":http"
}
listen "l4" {
  address = "example.com:80"
}
listen "l5" {
  address = "*:80"
}
listen "l6" {
  address = "http://localhost:8080"
}
listen "l7" {
  address = "https://example.com"
}
listen "l8" {
  address = "::1:8080"
}
listen "l9" {
  address = "[::1]"
}
listen "l10" {
  address = "[127.0.0.1]:80"
}
listen "l11" {
  address = "127.0.0.1:99999"
}
listen "l12" {
  address = "/run/x.sock"
}
listen "l13" {
  address = "unix:"
}
listen "l14" {
  address = "unix:@tined"
}
listen "l15" {
  address = "unix:/run/"
}
listen "l16" {
  address = ""
}
listen "l17" {
  address = "localhost"
}
listen "l18" {
  address = "fe80::1%eth0:80"
}
listen "l19" {
  address = "256.0.0.1:80"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
