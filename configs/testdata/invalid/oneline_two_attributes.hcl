listen "main" {
  address = "127.0.0.1:8080"
}

site "main" {
  route "GET /plain" {
    respond { status = 200 body = "x" }
  }
  route "GET /comma" {
    respond { status = 200, body = "x" }
  }
  route "GET /semicolon" {
    respond { status = 200; body = "x"; }
  }
  route "/later" {
    statik {
      root = "www"
    }
  }
}
