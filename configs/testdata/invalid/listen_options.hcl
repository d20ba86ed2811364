listen "main" {
  address = ":80"
  mode    = "0660"
}
listen "s" {
  address  = "unix:/run/x.sock"
  deferred = true
  mode     = "rw-rw----"
}
listen "s2" {
  address  = "unix:/run/y.sock"
  deferred = true
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
