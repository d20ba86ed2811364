// Package engine is the vocabulary between what serves SQL over HTTP and what runs it: values, statements, what a caller may do, results
// and errors. Two engines speak it: package local, for files of this machine, and package rqlite, for a cluster.
//
// It opens nothing, runs nothing and imports nothing but the standard library.
package engine
