children       = auto
drain_timeout  = 30s
user           = root
poller         = Epoll
listen "main" {
  address = 127.0.0.1:8080
}
listen "six" {
  address = [::1]:8080
}
listen "port" {
  address = :8081
}
listen "web" {
  address = localhost:http
}
site "main" {
  hosts  = [example.com, "www.example.com"]
  listen = [main]
  route "/" {
    static {
      root = /srv/www # where it is
    }
  }
  route "/q" {
    respond {
      body = 'single quotes'
    }
  }
}
