listen "a" {
  address = ":80"
}
listen "b" {
  address = ":81"
}
site "main" {
  stamp {}
  squeeze {}
  route "/a" {
    respond {}
  }
  route "/b" {
    respond {}
  }
}
