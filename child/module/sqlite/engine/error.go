package engine

import (
	"errors"
	"fmt"
	"time"
)

// A Code says to a machine what went wrong. Codes are part of what clients rely on: none is renamed.
type Code string

// The codes. A constraint's kind is named where SQLite tells it.
const (
	CodeSQL                  Code = "sql_error" // the statement is wrong: syntax, a name that does not exist, a value of a wrong type
	CodeParameter            Code = "parameter" // a parameter is missing, unknown or wrong
	CodeRequest              Code = "request"   // the request's form is wrong
	CodeUnauthorized         Code = "unauthorized"
	CodeDenied               Code = "denied"        // the role may not
	CodeNotReadOnly          Code = "not_read_only" // a statement that writes where only reading is allowed
	CodeNotFound             Code = "not_found"
	CodeMethod               Code = "method"
	CodeNotAcceptable        Code = "not_acceptable"
	CodePrecondition         Code = "precondition_failed"
	CodeConstraint           Code = "constraint"
	CodeConstraintUnique     Code = "constraint_unique"
	CodeConstraintPrimaryKey Code = "constraint_primary_key"
	CodeConstraintForeignKey Code = "constraint_foreign_key"
	CodeConstraintNotNull    Code = "constraint_not_null"
	CodeConstraintCheck      Code = "constraint_check"
	CodeConstraintTrigger    Code = "constraint_trigger"
	CodeConstraintDatatype   Code = "constraint_datatype"
	CodeTooManyRows          Code = "too_many_rows"
	CodeTooManyBytes         Code = "too_many_bytes"
	CodeTooLarge             Code = "too_large" // a statement, a value or a request over its bound
	CodeMediaType            Code = "media_type"
	CodeTooMany              Code = "too_many_requests"
	CodeBusy                 Code = "busy"            // the queue is full, or the time in it is over
	CodeUnavailable          Code = "unavailable"     // the cluster has no leader, a node cannot be reached, the file cannot be opened for the moment
	CodeUnknown              Code = "unknown_outcome" // a cluster's leader has gone with the answer: it may have been done, or not
	CodeTimeout              Code = "timeout"         // the statement took longer than it may
	CodeCancelled            Code = "cancelled"       // the client has gone
	CodeFull                 Code = "disk_full"
	CodeReadOnlyDatabase     Code = "read_only_database"
	CodeCorrupt              Code = "corrupt"
	CodeInternal             Code = "internal"
)

// Status returns the HTTP status that fits c (RFC 9110, 15; 429 is RFC 6585, 4, and 507 RFC 4918, 11.5).
func (c Code) Status() int {
	switch c {
	case CodeSQL, CodeParameter, CodeRequest, CodeNotReadOnly:
		return 400
	case CodeUnauthorized:
		return 401
	case CodeDenied:
		return 403
	case CodeNotFound:
		return 404
	case CodeMethod:
		return 405
	case CodeNotAcceptable:
		return 406
	case CodeConstraint, CodeConstraintUnique, CodeConstraintPrimaryKey, CodeConstraintForeignKey, CodeConstraintNotNull, CodeConstraintCheck,
		CodeConstraintTrigger, CodeConstraintDatatype:
		return 409
	case CodePrecondition:
		return 412
	case CodeTooManyRows, CodeTooManyBytes, CodeTooLarge:
		return 413
	case CodeMediaType:
		return 415
	case CodeTooMany:
		return 429
	case CodeUnknown:
		return 502 // 503 would say that nothing was done, and is tried again by proxies and clients
	case CodeBusy, CodeUnavailable, CodeCancelled:
		return 503
	case CodeTimeout:
		return 504
	case CodeFull:
		return 507
	}
	return 500
}

// An Error is why a statement, or a request, was not done.
type Error struct {
	Code Code
	// Message is for the client, one sentence without a period. It names no file of the server.
	Message string
	// Offset is the byte of the statement that the message is about, from 0; -1: unknown. It counts for CodeSQL only.
	Offset int
	// RetryAfter is when to ask again, for a 503 and a 429; 0: unknown.
	RetryAfter time.Duration
	// Queue is how many wait before a newcomer, for CodeBusy.
	Queue int
	// Err is what it was made of, for the server's log; nil: nothing more is known.
	Err error
}

// Errorf makes an Error with a message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Offset: -1}
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func (e *Error) Unwrap() error { return e.Err }

// ErrorOf returns err as an *Error: what it is, or holds; any other is CodeInternal, whose message says nothing of it.
func ErrorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "the server has made a mistake; its log says which", Offset: -1, Err: err}
}
