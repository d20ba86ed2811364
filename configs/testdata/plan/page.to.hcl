children = 4

log {
  level = "debug"
}

listen "main" {
  address = ":80"
  backlog = 1024
}
listen "local" {
  address = "unix:/run/tined/web.sock"
}

site "main" {
  route "/assets/" {
    static {
      root = "/srv/assets2"
    }
  }
  route "/" {
    static {
      root = "/srv/www"
    }
  }
  route "GET /hello/{name}" {
    function "hello" {}
  }
}
