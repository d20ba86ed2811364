package engine

import "context"

// A Database runs statements. Its methods may be called by any goroutine.
//
// Their errors are of type *Error.
type Database interface {
	// Query starts to read. It has made the first step when it returns: errors of the statement come from here, not from Rows. Rows may be
	// left by the caller for later; ctx ends them too.
	Query(ctx context.Context, q *Query) (Rows, error)
	// Execute writes, and returns when what it wrote is durable: one Outcome for each statement that ran. err says why nothing of the batch
	// has been done; then there are no outcomes, but for an Atomic batch, whose last outcome has the error of the statement that failed.
	Execute(ctx context.Context, b *Batch) ([]Outcome, error)
	// Inspect compiles a statement, as policy would have it, and runs nothing.
	Inspect(ctx context.Context, policy *Policy, sql string) (Info, error)
	// Tag returns the present content's tag. It does not block and allocates nothing: the loop may ask. false: unknown at the moment.
	Tag() (Tag, bool)
	// Close gives it back. Rows that are open stay readable.
	Close()
}
