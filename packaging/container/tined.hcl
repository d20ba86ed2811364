# The configuration of tined in its container. Mount your own over it, or put files
# with sites into /etc/tined/conf.d; `tined check` in the container says what is wrong
# with them and where, and SIGHUP brings the running server to them.

include = ["conf.d/*.hcl"]

# `docker stop` and `podman stop` kill what has not ended after 10 s. Who gives a
# container more time (--stop-timeout, terminationGracePeriodSeconds) may say more here.
drain_timeout = "9s"

# All addresses of the container, IPv4 and IPv6, on a port that needs no privilege.
listen "main" {
  address = ":8080"
}

# The welcome page. It answers for every name that no other site has: remove it when
# you have a site without `hosts`.
site "welcome" {
  # To standard output; the server's own log goes to standard error.
  access_log {}

  route "/" {
    static {
      root = "/usr/share/tined/welcome"
    }
  }
}
