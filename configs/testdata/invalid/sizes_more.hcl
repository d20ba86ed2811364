listen "main" {
  address = "127.0.0.1:8080"
}
limits {
  body = "10mb"
}
site "main" {
  route "/" {
    static {
      root = "www"
      cache {
        size = "1.5GiB"
      }
    }
  }
  route "/b" {
    static {
      root = "www"
      cache {
        size = -1
      }
    }
  }
  route "/c" {
    static {
      root = "www"
      cache {
        size = "99999999999TiB"
      }
    }
  }
}
