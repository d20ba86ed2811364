children = 4

log {
  level = "debug"
}
limits {
  body = "1MiB"
}

listen "web" {
  address = ":80"
  backlog = 1024
}
listen "admin" {
  address = "127.0.0.1:8081"
}

site "main" {
  listen = ["web"]

  access_log {
    file = "/var/log/tined/access.log"
  }
  squeeze {}

  route "GET /hello/{name}" {
    limits {
      concurrency = 4
    }
    function "echo" {}
  }
  route "/" {
    static {
      root  = "/srv/www2"
      index = ["index.html", "index.htm"]
    }
  }
  route "GET /reports/{year}/{month}/{day}/{name...}" {
    respond {
      body    = "soon"
      headers = { Cache-Control = "no-store", X-Robots-Tag = "none" }
    }
  }
}
site "admin" {
  hosts  = ["admin.example"]
  listen = ["admin"]

  route "/" {
    stamp {}
    respond {}
  }
}
