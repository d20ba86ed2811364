listen "main" {
  address = "127.0.0.1:8080"
}
listen "admin" {
  address = ":81"
}
site "main" {
  listen = ["mian"]
  route "/" {
    function "hello" {}
  }
}
site "other" {
  listen = ["web", "admin", "admin"]
  hosts  = ["a.example"]
}
site "none" {
  listen = []
  hosts  = ["b.example"]
}
