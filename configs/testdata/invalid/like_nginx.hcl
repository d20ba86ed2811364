listen "main" {
  address 127.0.0.1:8080;
  backlog 10;
}
site "main" {
  route "/" {
    static {
      root "/srv/www";
    }
  }
}
