control_mode        = "rw-rw----"
control_owner       = "nobdy"
control_group       = "wheel0"
retired_generations = 0
retired_timeout     = "8d"
hang_timeout        = "5s"
health {
  hang_timeout = "500ms"
  memory_limit = "1MiB"
  memory       = 5
}
health {}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
