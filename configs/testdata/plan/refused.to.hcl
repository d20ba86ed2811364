user          = "root"
control       = "/run/other/control.sock"
control_mode  = "0600"
poller        = "poll"
drain_timeout = "1m"
listen "main" {
  address = ":80"
}
site "main" {}
