children       = 4
pin            = true
procs          = 2
user           = "root"
group          = "root"
control        = "run/control.sock"
control_mode   = "600"
control_owner  = "root"
control_group  = "root"
runtime_dir    = "../run"
drain_timeout  = "1m30s"
orphan_timeout = "2h"
retired_generations = 1
retired_timeout     = "168h"
balance        = "off"
poller         = "select"
include        = []

log {
  level  = "debug"
  format = "json"
  file   = "log/tined.log"
}

health {
  hang_timeout = "1500ms"
  memory_limit = "1GiB"
}

upgrade {
  timeout        = "5500ms"
  canary         = "0s"
  probation      = "500ms"
  min_requests   = 1000
  error_percent  = 0
  latency_factor = 10
  latency_floor  = "0s"
}

limits {
  body         = "64KiB"
  head_timeout = "1500ms"
}

workers {
  min = 0
  max = 10
}

listen "v4" {
  address  = "0.0.0.0:80"
  deferred = true
  backlog  = 128
}
listen "v6" {
  address = "[::]:80"
}
listen "dual" {
  address = ":8080"
}
listen "local" {
  address = "localhost:0"
}
listen "local2" {
  address = "127.0.0.1:0"
}
listen "mapped" {
  address = "[::ffff:192.0.2.1]:80"
}
listen "socket" {
  address = "unix:run/web.sock"
  mode    = "666"
}
listen "socket2" {
  address = "unix:///run//web.sock"
}

site "default" {
  listen = ["socket", "v6", "v4"]

  access_log {
    format = "json"
    file   = "log/access.log"
  }

  route "/" {
    static { root = "www" }
  }
  route "/cached/" {
    static {
      root  = "./www/../www2/"
      index = ["index.html", "index.htm"]
      cache {
        size  = 1000
        ratio = 1
      }
    }
  }
  route "/text" {
    respond {
      body = "costs $${amount}, 100%%{sure}, \"quoted\"\n\ttab \\ \u00e9 \u0007"
      headers = {
        Cache-Control = "no-store",
        "X-Empty" = ""
      }
    }
  }
  route "/heredoc" {
    respond {
      body = <<-EOT
        Hello,
          World!
      EOT
    }
  }
}
site "logs" {
  hosts = ["Logs.Example.COM.", "*.logs.example.com", "192.0.2.7", "[2001:DB8::1]", "under_score"]
  access_log {
  }
  route "GET /{x}" { 
    redirect {
      to = "/y"
    }
  }
}
site "empty" {
  listen = ["dual", "local"]
}
