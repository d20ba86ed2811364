//go:build !linux

package main

import _ "github.com/tined/tined" // says why this does not build

func main() {}
