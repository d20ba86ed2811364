children = 2 + 2
procs    = max(1, 2)
pin      = !true
backlog  = var.backlog
listen "main" {
  address = "127.0.0.1:8080"
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
