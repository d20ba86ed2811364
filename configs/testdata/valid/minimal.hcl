listen "main" {
  address = ":8080"
}
