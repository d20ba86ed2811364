listen "main" {
  address = "127.0.0.1:8080"
}

site "main" {
  route "/" {
    respond { status = 200
      body = "x"
    }
  }
  route "/b" {
    respond {
      status = 200
      body = "x" }
  }
}
