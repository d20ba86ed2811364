listen "main" {
  address = "127.0.0.1:8080"
}

site "main" {
  route "/" {
    function "hello" {}
    stamp {}
    squeeze {
      least = 100
    }
  }
  route "/limited" {
    limits {
      concurrency = 4
      body        = "1MiB"
    }
    static { root = "/srv/www" }
  }
  route "/defaults" {
    limits {}
    respond {}
  }
  squeeze {
    codings = []
  }
  stamp {}
}
site "none" {
  hosts = ["none.example"]
  route "/" {
    respond {}
  }
}
