server {
  address = "127.0.0.1:8080"
}
sites "main" {
}
logs {
}
children {
}
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  location "/" {
  }
  rout "/" {
  }
  accesslog {
  }
}
