# A wildcard and an address of the same port go together; so do both wildcards.
listen "all" {
  address = ":80"
}
listen "all4" {
  address = "0.0.0.0:80"
}
listen "one" {
  address = "192.0.2.1:80"
}
site "all" {
  listen = ["all", "all4"]
  route "/" {
    function "hello" {}
  }
}
site "one" {
  listen = ["one"]
  route "/" {
    function "echo" {}
  }
}
