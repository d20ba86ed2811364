control = "/run/tined/control.sock"
listen "main" {
  address = ":80"
}
site "main" {}
