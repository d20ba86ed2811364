upgrade {
  timeout   = "60s"
  canary    = "50s"
  probation = "8s"
}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
