package control

import (
	"slices"
	"testing"
)

// The housekeeper has the environment of a child, but for the index.
func TestEnvironOfTheHousekeeper(t *testing.T) {
	got := Environ([]string{"PATH=/bin", "TINED_CHILD=3", "TINED_ROLE=master"}, Housekeeper)
	if want := []string{"PATH=/bin", "TINED_ROLE=housekeeper"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
