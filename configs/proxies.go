package configs

// trustedProxies reads the attribute of that name in the top level or a listen:
// the peers that are believed when they tell another client's address than
// their own.
func (r *resolver) trustedProxies(b *Block) Addresses {
	p, problems := ParseAddresses(b.Strings("trusted_proxies"))
	for i := range problems {
		r.problem(b.itemPos("trusted_proxies", problems[i].Item-1), &problems[i])
		r.broken[b] = true
	}
	for i, item := range b.Strings("trusted_proxies") {
		if prefix, problem := parsePrefix(item); problem == nil && prefix.Bits() == 0 {
			r.warn(b.itemPos("trusted_proxies", i), Quote(item)+" trusts everybody: every client can claim any address", "name the addresses of the proxies")
		}
	}
	return p
}

// proxyProtocol refuses a listener with proxy_protocol on which every connection
// would be refused.
func (r *resolver) proxyProtocol(b *Block, l *Listener) {
	p, at := &l.TrustedProxies, b.Pos("proxy_protocol")
	switch unix := l.Address.Network == "unix"; {
	case unix && !p.Unix:
		r.err(at, b.where()+" has proxy_protocol and does not trust the peers of its unix socket: every connection would be refused",
			`add trusted_proxies = ["unix"]`)
	case !unix && len(p.Prefixes) == 0:
		r.err(at, b.where()+" has proxy_protocol and trusts no proxy: every connection would be refused",
			`add trusted_proxies with the addresses of the proxies, like ["10.0.0.0/8"]`)
	}
}
