listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/" {
    statik {
      root = "/srv/www"
    }
  }
  route "/api" {
    fastcgi {
      to = "127.0.0.1:9000"
    }
  }
}
