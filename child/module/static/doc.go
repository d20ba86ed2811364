// Package static is the module that serves the files below a directory:
//
//	route "/assets/" {
//	  static {
//	    root  = "/srv/www/assets"
//	    index = ["index.html"]
//	  }
//	}
//
// # The path of a request
//
//  1. mapPath turns the still encoded path into the name of a file below the root, its key, or refuses it (loop, no system call).
//  2. admit asks the access rules (loop; a password that is not known yet is hashed by a worker).
//  3. cache.get finds the entry of that key, if its last stat is recent enough (loop, no system call).
//  4. choose picks one of its forms by Accept-Encoding; answer evaluates conditions and range and sends it: what is small from memory, what
//     is large by a descriptor that the form holds open (loop; one statx for a large file).
//  5. Without such an entry or form Serve runs on a worker: one worker per key finds the file through the root's descriptor (look.go),
//     compares it with the entry or reads it anew, or compresses it (compress.go), and all who wait for that key answer from the result.
//     Nobody waits for a client: what a worker has found is sent by the loop.
//  6. What is not there is listed (listing.go), replaced by the fallback, or refused by a page (pages.go).
//
// PUT and DELETE are write.go's, on a worker.
//
// # Freshness
//
// A change below the root, or of the symlink that is the root, is seen within one second. An entry answers for trustFor after its
// last stat; the sweeper looks again at those in use when they are renewAfter old, so that no request waits for that. An entry knows all
// that was looked at to find it, what was not there included (its sights). See ADR 15.
//
// # Versions
//
// No entity tag stands for two contents, however quickly a file changes. What is small, or young, is sent from memory with a tag of its
// content. A file that has rested for two seconds has a tag of its stat; it is compared with what was told before each part that is sent, and
// the connection is closed if it was changed in place. A file that is replaced by a rename stays what it was for those who get it.
//
// # Safety
//
// Nothing outside the root is opened: names are resolved by openat2(2) with RESOLVE_BENEATH where the kernel has it, else component by
// component. Only regular files are opened for reading, and never so that the opening could wait; files that another module claims are
// never opened (module.Claims).
package static
