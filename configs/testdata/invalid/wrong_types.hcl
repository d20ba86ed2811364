children = "4"
pin      = "yes"
procs    = 1.5
user     = 1000
drain_timeout = 30
poller   = true
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  hosts  = "example.com"
  listen = "main"
  route "/" {
    static {
      root  = ["a"]
      index = ["index.html", 5]
    }
  }
  route "/b" {
    respond {
      status  = "200"
      body    = 5
      headers = ["x"]
    }
  }
  route "/c" {
    respond {
      body    = null
      headers = { "X-Count" = 5 }
    }
  }
}
