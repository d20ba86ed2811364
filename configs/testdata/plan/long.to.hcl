trusted_proxies = ["10.0.11.0/24", "10.0.12.0/24", "10.0.13.0/24", "10.0.14.0/24", "10.0.15.0/24", "10.0.16.0/24", "10.0.17.0/24", "10.0.18.0/24", "10.0.19.0/24", "10.0.20.0/24", "10.0.21.0/24", "10.0.22.0/24"]

listen "main" {
  address         = ":80"
  trusted_proxies = ["10.0.0.1"]
}
site "main" {
  hosts = ["host0.example.com", "host1.example.com", "host3.example.com", "host4.example.com", "host5.example.com", "host6.example.com"]

  route "/" {
    respond {
      body    = "A long text that goes on and on before the one word that matters, which is that, and after it much that does not matter at all, as ä and ö and ü show."
      headers = { a = "1", b = "3", c = "3", "X-Something-Long" = "and a value that is long as well, so long that a line does not hold it" }
    }
  }
  route "GET /quo\"te" {
    static {
      root = "/srv/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"
    }
  }
}
