balance = false
upgrade {
  probation = "2m"
}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {}
