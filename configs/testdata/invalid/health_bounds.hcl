retired_timeout = "200h"
socket_mode     = "0600"
health {
  hang_timeout = "2h"
  memory_limit = "-1"
  max_memory   = "1GiB"
}
watchdog {}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
