childs = 4
drain_timeout = 30

listen "main" {
  address = "8080"
  tls {}
}

site "main" {
  hosts  = ["example.com:8080"]
  listen = ["mian"]

  route "GET /plain" {
    respond { status = 200, body = "x" }
  }
  route "/" {
    static { root = www }
  }
  route "/old/" {
    redirect {
      status = 300
    }
  }
}
