control = ""
listen "main" {
  address = "127.0.0.1:8080"
}
log {
  file = "~/tined.log"
}
site "main" {
  access_log {
    file = ""
  }
  route "/" {
    static {
      root = ""
    }
  }
}
