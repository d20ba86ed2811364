listen "main" {
  address        = ":80"
  proxy_protocol = true
}
listen "wrong_type" {
  address        = ":81"
  proxy_protocol = "v2"
}
site "main" {
  route "/" {
    respond {}
  }
}
