trusted_proxies = ["10.0.0.1/8", "proxy.example", "192.0.2.7:80", "[2001:db8::1]:80", "[::1]", "localhost", "unix:/run/x.sock", "fe80::1%eth0", "10.0.0.0/33", ""]
forwarded_field = "X-Real-IP"

listen "doubtful" {
  address        = ":80"
  proxy_protocol = true
}
listen "nobody" {
  address         = ":81"
  proxy_protocol  = true
  trusted_proxies = []
}
listen "only_unix" {
  address         = ":82"
  proxy_protocol  = true
  trusted_proxies = ["unix"]
}
listen "socket" {
  address         = "unix:/run/x.sock"
  proxy_protocol  = true
  trusted_proxies = ["10.0.0.0/8"]
}
listen "typo" {
  address        = ":83"
  real_ip_header = "Forwarded"
  proxy_protocl  = true
}
site "main" {
  route "/" {
    respond {}
  }
}
