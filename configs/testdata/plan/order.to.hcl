listen "b" {
  address = ":81"
}
listen "a" {
  address = ":80"
}
site "main" {
  squeeze {}
  stamp {}
  route "/b" {
    respond {}
  }
  route "/a" {
    respond {}
  }
}
