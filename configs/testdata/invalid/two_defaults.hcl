listen "main" {
  address = "127.0.0.1:8080"
}
listen "admin" {
  address = ":81"
}
site "a" {
}
site "b" {
  listen = ["admin"]
}
