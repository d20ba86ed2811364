control_mode    = "0666"
retired_timeout = "0s"
health {
  hang_timeout = "0s"
}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
