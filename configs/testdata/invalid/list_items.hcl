listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  hosts = [a.example, "b.example", 5, "c.example:80", my-host]
  route "/" {
    respond {
      headers = { X-A = b, X-B = 5, "X-C" = "c", "X-C" = "d" }
    }
  }
}
