package main

// An Outcome is what one experiment has found, as it is saved and drawn.
type Outcome struct {
	Name   string  `json:"name"` // of the experiment, and of its place in the page
	Tables []Table `json:"tables"`
	Plots  []Plot  `json:"plots,omitempty"`
}

// A Table is printed as it is. The cells of the first column are names.
type Table struct {
	Caption string     `json:"caption,omitempty"`
	Head    []string   `json:"head"`
	Rows    [][]string `json:"rows"`
}

// Forms of a Plot.
const (
	formLines = "lines" // figures over a number
	formBars  = "bars"  // figures side by side, in groups
)

// A Plot is one chart.
type Plot struct {
	File   string   `json:"file"` // its name beside the page, without .svg
	Form   string   `json:"form"`
	Title  string   `json:"title"`
	X      Axis     `json:"x"` // of bars: only Label
	Y      Axis     `json:"y"`
	Series []Series `json:"series"`
}

// An Axis says how figures become places.
type Axis struct {
	Label string `json:"label"` // what it shows, with the unit unless the ticks have it
	Unit  string `json:"unit,omitempty"`
	Log   bool   `json:"log,omitempty"`
}

// unitTime is the unit of figures in nanoseconds: ticks are written as 10 ns, 3 µs, 2 ms.
const unitTime = "time"

// A Series is one line, or one colour of bars.
type Series struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// A Point is a median with its interval.
type Point struct {
	X     float64 `json:"x,omitempty"`     // of lines
	Group string  `json:"group,omitempty"` // of bars
	Y     float64 `json:"y"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}
