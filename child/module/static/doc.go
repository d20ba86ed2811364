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
//  1. mapPath turns the still encoded path into the name of a file below the root, or refuses it (loop, no system call).
//  2. cache.get finds the entry of that name, if its last stat is recent enough (loop, no system call).
//  3. answer evaluates conditions and range and sends the entry: a small file from memory, a large one by a descriptor that the
//     entry holds open (loop, no system call).
//  4. Without such an entry Serve runs on a worker: one worker per name finds the file through the root's descriptor, compares it
//     with the entry or reads it anew, and all who wait for that name answer from the result.
//
// # Freshness
//
// A change below the root, or of the symlink that is the root, is seen within one second. An entry answers for trustFor after its
// last stat; after renewAfter one request at a time is sent to a worker to look again while the others are still answered.
//
// # Safety
//
// Nothing outside the root is opened: names are resolved by openat2(2) with RESOLVE_BENEATH where the kernel has it, else component by
// component. Only regular files are opened for reading, and never so that the opening could wait.
package static
