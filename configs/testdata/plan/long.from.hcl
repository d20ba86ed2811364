trusted_proxies = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "10.0.4.0/24", "10.0.5.0/24", "10.0.6.0/24", "10.0.7.0/24", "10.0.8.0/24", "10.0.9.0/24", "10.0.10.0/24", "10.0.11.0/24"]

listen "main" {
  address         = ":80"
  trusted_proxies = ["10.0.0.1"]
}
site "main" {
  hosts = ["host0.example.com", "host1.example.com", "host2.example.com", "host3.example.com", "host4.example.com", "host5.example.com"]

  route "/" {
    respond {
      body    = "A long text that goes on and on before the one word that matters, which is this, and after it much that does not matter at all, as ä and ö and ü show."
      headers = { a = "1", b = "2", c = "3", "X-Something-Long" = "and a value that is long as well, so long that a line does not hold it" }
    }
  }
  route "GET /quo\"te" {
    static {
      root = "/srv/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    }
  }
}
