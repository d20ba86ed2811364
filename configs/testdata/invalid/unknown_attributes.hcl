childern = 4
worker_processes = 4
address = "127.0.0.1:80"
level = "debug"
listen "main" {
  adress  = "127.0.0.1:8080"
  ssl     = true
}
site "main" {
  host = ["example.com"]
  root = "/srv/www"
  route "/" {
    root = "/srv/www"
    static {
      rot = "/srv/www"
    }
  }
}
