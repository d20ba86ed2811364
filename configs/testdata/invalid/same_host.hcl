listen "main" {
  address = "127.0.0.1:8080"
}
site "a" {
  hosts = ["example.com", "www.example.com"]
}
site "b" {
  hosts = ["WWW.example.com."]
}
site "c" {
  hosts = ["c.example", "C.EXAMPLE"]
}
