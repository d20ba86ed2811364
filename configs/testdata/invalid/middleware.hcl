listen "main" {
  address = "127.0.0.1:8080"
  stamp {}
}
squeeze {
  least = 100
}
stamp = true
static { root = "/srv/www" }
site "main" {
  squeeze {}
  stamp "here" {}
  squeese {}
  squeeze {
    least = "a lot"
  }
  limits {
    concurrency = 3
  }
  static { root = "/srv/www" }
  route "/" {
    stamp {}
    function "hello" {}
    stamp {}
    stmp {}
    limts {}
    limits {
      head_timeout = "10s"
      body         = "-1"
    }
    access_log {}
  }
  route "/only" {
    stamp {}
  }
  route "/attributes" {
    least = 7
    squeeze = true
    function "hello" {}
  }
  route "/inside" {
    static {
      root = "/srv/www"
      squeeze {}
    }
  }
}
