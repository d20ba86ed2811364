balance = "on"
upgrade {
  timeout        = "2s"
  canary         = "50ms"
  probation      = "1h"
  min_requests   = 0
  error_percent  = 101
  latency_factor = 0.5
  latency_floor  = "2m"
  error_rate     = 1
}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
