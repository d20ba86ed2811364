listen "main" {
  address        = ":443"
  proxy_protocol = true
  protocols      = ["h2"]
  tls {
    cert = "x.pem"
  }
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
