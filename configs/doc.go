// Package configs turns configuration files into one resolved [Config].
//
// It owns the grammar (what may be written, and where), the defaults, every
// check that needs no machine (the only look-up is that of user and group
// names, behind a seam), and the words in which mistakes are reported. It knows
// no HTTP and no module: limits, workers and modules hand in a description of
// their blocks ([Schema], [BlockSpec]), and one engine decodes all blocks, the
// package's own too, against such descriptions.
//
// The flow:
//
//  1. [Read] loads the root file and its includes, each once, into [Sources].
//     Sources travel whole: the master encodes them for its children, so that
//     all processes resolve the same bytes.
//  2. each file is parsed (native or JSON syntax) into one plain tree; slips
//     with an obvious meaning are reported and mended there, so that they hide
//     nothing that comes after them (mend.go).
//  3. the trees are decoded as one against the specs (decode.go).
//  4. the typed blocks are resolved: addresses, sites, routes, and the rules
//     that span blocks (resolve.go).
//
// A resolved configuration is written as one tree (outline.go): Dump prints it,
// the digest hashes what is printed, [Diff] compares two, and [PlanText] shows
// the differences to people.
//
// Every mistake found on the way is a [Diagnostic] with file, line, column and
// a cure; all of them are returned at once, and none of the steps changes
// anything outside its results.
//
// Imports: the standard library and hashicorp/hcl/v2 (with cty, its values).
package configs
