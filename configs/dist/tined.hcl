# The configuration of tined. Every setting is explained in docs/config.md;
# `tined check` says what is wrong with this file, and `tined check --dump` prints
# it with all defaults. What is commented out below shows the default.

# One child per usable core; a number fixes the count.
# children = "auto"

# How long requests may take to finish when a child stops.
# drain_timeout = "30s"

# Who may command the server (tined status, tined reload): owner and group of its
# control socket. Without them: the user that it runs as, and that user's group.
# control_mode  = "0660"
# control_group = ""

# Proxies before this server, which are believed when they tell who the client
# is (docs/proxies.md), and the field that they tell it in.
# trusted_proxies = []
# forwarded_field = "auto"

# Further files, relative to this one.
# include = ["conf.d/*.hcl"]

# Where to listen: IP:port, [v6]:port, :port for all addresses, or unix:PATH.
listen "main" {
  address = "127.0.0.1:8080"
}

# A site has routes, and answers for its hosts. Without hosts it is the default
# site, which answers for every name that no other site has; without listen it
# is on every listener.
site "main" {
  # hosts  = ["example.com", "*.example.org"]
  # listen = ["main"]

  # A line per request, to stdout or a file; there is none without this block.
  # access_log {
  #   format = "combined"
  #   file   = "stdout"
  # }

  # Around everything that the site answers, the outermost first: an identifier
  # for each request, an answer when a handler panics, compression
  # (docs/middleware.md). A route may hold the same blocks for itself.
  # request_id {}
  # recover {}
  # compress {}

  # A route is a pattern and one module. The more specific pattern wins, wherever
  # it stands. A fixed answer:
  route "GET /plain" {
    respond {
      body = "Hello, World!"
    }
  }

  # Functions are written in Go and linked in; `hello` and `echo` come with tined.
  route "GET /hello/{name}" {
    function "hello" {}
  }
  route "POST /echo" {
    function "echo" {}
  }

  # What stands below /old/ has moved below /new/.
  route "/old/" {
    redirect {
      to = "/new/"
    }
  }

  # A route may serve SQLite databases, too: docs/modules/sqlite.md begins with a
  # configuration for them.

  # Everything else is a file. A relative path starts at this file's directory.
  route "/" {
    static {
      root = "www"
    }
  }
}

# The server's own log: on a terminal for humans, else JSON; to stderr.
# log {
#   level  = "info"
#   format = "auto"
#   file   = "/var/log/tined/tined.log"
# }

# Bounds on clients, and the workers of each child: docs/config.md lists them.
# limits {
#   body = "16MiB"
# }
# workers {
#   max = 1024
# }

# A child that hangs is killed and started again; one that holds more memory than
# memory_limit (0: any amount) is replaced without losing a request.
# health {
#   hang_timeout = "5s"
#   memory_limit = 0
# }

# An upgrade to a new version of tined without a lost connection (docs/upgrade.md):
# one of its children serves for the time of canary, all of them for that of
# probation, and it is taken back if it crashes, fails or is slow meanwhile.
# upgrade {
#   timeout        = "60s"
#   canary         = "5s"
#   probation      = "10s"
#   min_requests   = 50
#   error_percent  = 1
#   latency_factor = 3
#   latency_floor  = "50ms"
# }

# Idle connections move from children that have many to those that have few.
# balance = "auto"
