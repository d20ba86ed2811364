listen "main" {
  address        = ":443"
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
