listen "main" { address = ":8080" backlog = 5 }
site "main" { route "/" { static { root = "www" index = ["index.html"] } } }
