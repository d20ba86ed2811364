listen "main" {
}
site "main" {
  route "/" {
    static {
    }
  }
  route "/old/" {
    redirect {
      status = 301
    }
  }
}
