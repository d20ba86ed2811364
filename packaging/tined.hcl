# The configuration of tined. `tined check` says what is wrong with it and where;
# `systemctl reload tined` brings the running server to it without closing a
# connection. Every setting: man tined.hcl. An annotated example:
# /usr/share/doc/tined/examples/tined.hcl

# Each site may have a file of its own.
include = ["conf.d/*.hcl"]

# Where commands find the server: root and the members of group tined may.
control = "/run/tined/control.sock"

# All addresses of this machine, IPv4 and IPv6.
listen "main" {
  address = ":80"
}

# The welcome page. It answers for every name that no other site has: remove it
# when you have a site without `hosts`.
site "welcome" {
  route "/" {
    static {
      root = "/usr/share/tined/welcome"
    }
  }
}
