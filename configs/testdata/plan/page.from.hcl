children = 2

listen "main" {
  address = ":80"
}
listen "old" {
  address = "192.0.2.1:8080"
}

site "main" {
  route "/assets/" {
    static {
      root = "/srv/assets"
    }
  }
  route "/" {
    respond {
      body = "soon"
    }
  }
}
