listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/${path}" {
    respond {
      body = "Hello, ${name}!"
    }
  }
  route "/b" {
    respond {
      body = "100%{sure}"
    }
  }
  route "/c" {
    static {
      root = "${ROOT}"
    }
  }
}
