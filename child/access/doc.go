// Package access says who may: by the client's address, by a name and password (Basic, RFC 7617), or by a token (Bearer, RFC 6750).
//
//	guard, err := access.New(access.Options{
//		From:  []string{"10.0.0.0/8"},
//		Users: map[string]string{"anna": "$2y$10$…"},
//	})
//	switch guard.JudgeNow(r) {  // on the loop
//	case access.Granted:        // go on
//	case access.Unauthorized:   // 401, and guard.Challenges() in WWW-Authenticate
//	case access.Forbidden:      // 403: no password would help
//	case access.Undecided:      // leave it to a worker, which asks guard.Judge
//	}
//
// Passwords are kept as bcrypt or argon2id, which take tens of milliseconds and up to 256 MiB each. So a process hashes one at a time,
// however many guards it has, and lets few wait for their turn (proofs.go). What was right once is remembered, by a keyed digest, and is
// judged on the loop from then on; what was wrong is not. Tokens are random and long: one round of SHA-256 guards them, on the loop.
//
// It imports child/web, configs and golang.org/x/crypto, never logs, and opens one file: users_file, in New.
package access
