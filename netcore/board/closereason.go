package board

// CloseReasons are the names of the reasons for which a child closes connections, in log and status. A life counts the connections of
// each: the place in the list is the word's, and package child has a constant for each place. New ones come at the end, up to closedWords;
// another order is another version of the layout.
var CloseReasons = [...]string{
	"none",
	"client_done",
	"client_gone",
	"answered",
	"server_close",
	"half_closed",
	"idle_timeout",
	"head_timeout",
	"body_timeout",
	"write_timeout",
	"handler_timeout",
	"refused",
	"untrusted",
	"body_unread",
	"aborted",
	"file_changed",
	"drain",
	"drain_timeout",
	"detached",
	"system",
	"listener_removed",
	"generation_retired",
	"moved",
}
