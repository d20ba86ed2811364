children = "auto"                       # or a number
control  = "/run/tined/control.sock"

listen "main" {
  address = "127.0.0.1:8080"            # also "[::]:80", "unix:/run/x.sock"
}

site "example" {
  hosts  = ["example.com", "*.example.org"]   # none: the default site
  listen = ["main"]

  route "GET /plain" {
    respond {
      status       = 200
      body         = "Hello, World!"
      content_type = "text/plain"
    }
  }
  route "GET /hello/{name}" {
    function "hello" {}
  }
  route "/" {
    static {
      root = "/srv/www"
    }
  }
  route "/old/" {
    redirect {
      to     = "/new/"
      status = 308
    }
  }
}
