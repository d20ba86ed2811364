//go:build tined_debug

package main

func init() { buildFlags = append(buildFlags, "-tags", "tined_debug") }
