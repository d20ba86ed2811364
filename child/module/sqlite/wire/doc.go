// Package wire turns results of SQL into what HTTP carries, and what HTTP brings into values of SQL. It opens no connection and no file.
//
//	format, ok := wire.Choose(accept, wire.JSON, wire.NDJSON, wire.CSV)
//	e := wire.NewEncoder(format, rows.Columns(), wire.Options{})
//	content, over, err := wire.Collect(nil, rows, e, 64<<10) // a small answer: it gets a length, and its error a status of its own
//	if !over && err == nil {
//		response.SendReader(wire.Stream(rows, e, content), -1) // a large one: pulled as the client reads
//	}
//
// # Values
//
//	SQLite    JSON, NDJSON              CSV
//	NULL      null                      an empty field
//	integer   7, exact to 64 bits       7
//	real      7.0, 1e+21: the shortest that reads back as the same, always with a '.' or an exponent
//	          null for NaN and the infinities, an empty field in CSV
//	text      "…"                       as it is, quoted where RFC 4180 wants it; the empty text is ""
//	blob      {"$base64":"…"}           base64; the empty blob is ""
//
// Text that is no UTF-8 has no form in JSON (RFC 8259, 8.1) and is written as a blob is. A reader of JSON whose numbers are all floating point
// (JavaScript's) rounds integers beyond 2^53: that is the reader's to avoid.
//
// # Names
//
// A row is an object whose members are called as the columns are. Of columns with the same name, the first keeps it and each later one gets the
// first of "_2", "_3", … that makes a name which no column has. In JSON and NDJSON a name that begins with '$' gets one more in front: a
// member with a single '$' is always the server's own, and no row can be taken for the end of a result. Bytes of names that are no UTF-8
// become U+FFFD.
//
// # Documents
//
//	JSON    {"rows":[{…},{…}]}            further members behind: {"rows":[…],"next":"…"}
//	        {"rows":[…],"error":{"code":"…","message":"…"}}   an error in the middle
//	        {…}, or null                  Options.Single: the row alone; {…,"$error":{"code":"…","message":"…"}}
//	NDJSON  a row a line, then {"$end":{"rows":2}} or {"$error":{"code":"…","message":"…"}}; further members in "$end"
//	CSV     RFC 4180: CRLF, a line of names, a line a row
//
// A result without its last line (NDJSON) or bracket (JSON) has been cut off. CSV has no place for errors or further members: the stream
// fails, so that the connection ends before the content does. One column that is NULL is an empty line in CSV, which RFC 4180 makes a
// record and some readers skip.
//
// Text that a spreadsheet would take for a formula ("=1+1") is written as it is: a mark in front of it would change the data for all other
// readers. Import CSV of strangers as text.
package wire
