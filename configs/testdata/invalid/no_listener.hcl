site "main" {
  route "/" {
    static {
      root = "www"
    }
  }
}
