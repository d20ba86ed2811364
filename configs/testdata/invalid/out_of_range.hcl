children = 0
procs    = 5000
drain_timeout = "48h"
poller   = "kqueue"
listen "main" {
  address = "127.0.0.1:8080"
}
listen "b" {
  address = ":1"
  backlog = 70000
}
log {
  level  = "warning"
  format = "xml"
}
limits {
  head_timeout = "0s"
}
workers {
  min = 10
  max = 5
}
site "main" {
  route "/" {
    respond {
      status = 99
    }
  }
  route "/b" {
    redirect {
      to     = "/c"
      status = 305
    }
  }
  route "/c" {
    static {
      root = "www"
      cache {
        size  = "2GiB"
        ratio = 1.5
      }
    }
  }
}
