trusted_proxies = ["10.1.0.0/16", "loopback", "192.0.2.7", "10.0.0.0/8", "::ffff:198.51.100.0/120", "2001:db8::/32", "unix"]
forwarded_field = "X-Forwarded-For"

listen "inherits" {
  address        = ":80"
  proxy_protocol = true
}
listen "own" {
  address         = ":81"
  trusted_proxies = ["private", "::1"]
}
listen "nobody" {
  address         = ":82"
  trusted_proxies = []
}
listen "socket" {
  address         = "unix:/run/web.sock"
  trusted_proxies = ["unix"]
  proxy_protocol  = true
}
listen "everybody" {
  address         = ":83"
  trusted_proxies = ["0.0.0.0/0", "192.0.2.0/24", "::/0"]
}
site "main" {
  route "/" {
    respond {}
  }
}
