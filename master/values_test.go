package master

import (
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// told are the texts that a child was sent, by name.
func told(c *child) (texts []string) {
	for _, m := range proc(c).sent {
		if v, ok := m.(*control.Value); ok {
			texts = append(texts, v.Name+"="+string(v.Text))
		}
	}
	return texts
}

func sharingFleet(t *testing.T, children int) (f *fleet, a, b *board.Value) {
	t.Helper()
	f = newFleet(t, children)
	a, errA := f.o.Shared.Value("a")
	b, errB := f.o.Shared.Value("b")
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return f, a, b
}

// A child gets the board and the present texts before it prepares.
func TestBoardComesBeforePrepare(t *testing.T) {
	f, a, _ := sharingFleet(t, 1)
	a.Advance("first")
	c := f.last(0)
	f.brings(c, Preparing)
	want := []control.Kind{control.KindBoard, control.KindValue, control.KindPrepare}
	if kinds := proc(c).sentKinds(); !slices.Equal(kinds, want) {
		t.Fatalf("sent %v", kinds)
	}
	if b := proc(c).sent[0].(*control.Board); !slices.Equal(b.Values, []string{"a", "b"}) || len(b.Counters) != 0 {
		t.Errorf("%+v", b)
	}
}

// A child that is slow to see gets one text at a time, and then the last of each value.
func TestSlowChildIsToldTheLastText(t *testing.T) {
	f, a, b := sharingFleet(t, 1)
	c := f.last(0)
	f.brings(c, Serving)
	for _, text := range []string{"1", "2", "3"} {
		a.Advance(text)
		b.Advance(text)
		f.tellAll()
	}
	if got := told(c); !slices.Equal(got, []string{"a=1"}) {
		t.Fatalf("told %q", got)
	}
	f.says(c, &control.ValueSeen{}, &control.ValueSeen{})
	if got := told(c); !slices.Equal(got, []string{"a=1", "a=3", "b=3"}) {
		t.Fatalf("told %q", got)
	}
	f.says(c, &control.ValueSeen{})
	f.tellAll()
	if got := told(c); len(got) != 3 {
		t.Errorf("told again: %q", got)
	}
	f.says(c, &control.ValueSeen{})
	if c.state != Ending || !strings.Contains(c.fault, "was not sent") {
		t.Errorf("a child that has seen too much is %s, %q", c.state, c.fault)
	}
}

// What a child sets is decided here. It is not trusted with names and lengths.
func TestChildSetsAValue(t *testing.T) {
	f, a, _ := sharingFleet(t, 2)
	c := f.last(0)
	f.brings(c, Preparing) // its start hooks may set values
	proc(c).sent = nil
	long := []byte(strings.Repeat("x", board.MaxValue+1))
	f.says(c, &control.SetValue{ID: 1, Name: "a", Text: []byte("x")}, &control.SetValue{ID: 2, Name: "none"},
		&control.SetValue{ID: 3, Name: "a", Text: long}, &control.SetValue{ID: 4, Name: "a", Text: []byte("y")})
	if a.Get() != "y" {
		t.Errorf("the text is %q", a.Get())
	}
	var answers []control.ValueSet
	for _, m := range proc(c).sent {
		answers = append(answers, *m.(*control.ValueSet))
	}
	if len(answers) != 4 || answers[0].Revision != 1 || answers[3].Revision != 2 || answers[3].ID != 4 ||
		!strings.Contains(answers[1].Refused, "no shared value") || !strings.Contains(answers[2].Refused, "longer than") {
		t.Errorf("%+v", answers)
	}
	mute := f.last(1)
	f.says(mute, &control.SetValue{ID: 1, Name: "a"})
	if mute.state != Ending {
		t.Errorf("a child that sets before its hello is %s", mute.state)
	}
}
