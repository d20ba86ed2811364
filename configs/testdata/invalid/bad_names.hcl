listen "my listener" {
  address = ":80"
}
listen "" {
  address = ":81"
}
site "a/b" {
}
