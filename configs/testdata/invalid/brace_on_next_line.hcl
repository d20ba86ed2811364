listen "main"
{
  address = "127.0.0.1:8080"
  adress = 5
}
site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
