listen "main" {
  address = "127.0.0.1:8080"
  backlog = 70000
  mode    = "0660"
}
listen "socket" {
  address  = "unix:x.sock"
  deferred = "maybe"
}
workers {
  min = "x"
  max = 1
}
site "main" {}
