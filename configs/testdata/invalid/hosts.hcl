listen "main" {
  address = "127.0.0.1:8080"
}
site "s0" {
  hosts = ["example.com:8080"]
}
site "s1" {
  hosts = ["https://example.com/"]
}
site "s2" {
  hosts = ["example.com/path"]
}
site "s3" {
  hosts = ["*"]
}
site "s4" {
  hosts = ["www.*"]
}
site "s5" {
  hosts = ["*example.com"]
}
site "s6" {
  hosts = ["a..b"]
}
site "s7" {
  hosts = ["-a.example"]
}
site "s8" {
  hosts = ["müller.example"]
}
site "s9" {
  hosts = ["exa mple.com"]
}
site "s10" {
  hosts = [""]
}
site "s11" {
  hosts = ["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.example"]
}
