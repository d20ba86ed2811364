listen "main" { address = ":8080" }
log { level = "warn" }
site "main" {
  hosts = [
    "example.com",
    "www.example.com", # with a trailing comma
  ]
  route "/" {
    static { root = "x" }
  }
}
