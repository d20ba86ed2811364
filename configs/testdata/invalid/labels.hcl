listen {
  address = ":80"
}
site "a" "b" {
}
limits "x" {
}
listen "main" {
  address = "127.0.0.1:8080"
}
