children = 2

listen "main" {
  address = ":80"
}
listen "local" {
  address = "unix:/run/tined/web.sock"
}

site "main" {
  route "GET /hello/{name}" {
    function "hello" {}
  }
  route "/old/" {
    redirect {
      to = "/new/"
    }
  }
  route "/" {
    static {
      root = "/srv/www"
    }
  }
}
site "gone" {
  hosts = ["gone.example"]

  route "/" {
    respond {}
  }
}
