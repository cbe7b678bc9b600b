package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// row is one row of the table: a figure of ours against the same of a peer, or against a bound, or both.
type row struct {
	name     string
	figure   string // of both sides' runs
	unit     string
	peer     string  // name of the side to compare with; "" when nobody does the same
	than     string  // the peer's figure; "" for the same as ours
	aim      float64 // the ratio is to be this or less; 0: there is no such aim
	most     float64 // our figure is to be this or less; 0: there is no such aim
	zero     bool    // our figure is to be 0
	worst    bool    // our figure is the greatest of the rounds, not the median
	compared string  // what exactly is compared, for the notes below the table
}

// line is a row with its figures.
type line struct {
	row
	measured     bool
	ours, theirs float64
	ratio        float64 // median of the rounds' ratios; 0 without a peer
	low, high    float64 // least and greatest of what the aim is about
}

// line takes the ratio within each round, because two runs one after the other see the same machine, and the median
// over all of them.
func (r row) line(rounds []round) line {
	l := line{row: r, measured: len(rounds) > 0}
	if !l.measured {
		return l
	}
	var own, their, ratios []float64
	for _, one := range rounds {
		a := one[ours][r.figure]
		own = append(own, a)
		if r.peer != "" {
			b := one[r.peer][cmp.Or(r.than, r.figure)]
			their, ratios = append(their, b), append(ratios, a/b)
		}
	}
	l.ours = median(own)
	if r.worst {
		l.ours = slices.Max(own)
	}
	l.low, l.high = slices.Min(own), slices.Max(own)
	if r.peer != "" {
		l.theirs, l.ratio = median(their), median(ratios)
	}
	if !r.absolute() {
		l.low, l.high = slices.Min(ratios), slices.Max(ratios)
	}
	return l
}

// absolute says that the row is about our figure itself: no aim is set for its ratio to the peer's.
func (r row) absolute() bool { return r.aim == 0 }

// median is the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// verdict compares with the aim what is printed.
func (l line) verdict() string {
	value, aim, digits := l.ratio, l.aim, 2
	if l.absolute() {
		value, aim, digits = l.ours, l.most, decimals(l.ours)
	}
	unit := math.Pow10(-digits)
	switch {
	case !l.measured:
		return "not measured"
	case aim == 0 && !l.zero:
		return ""
	case math.Round(value/unit) <= math.Round(aim/unit):
		return "reached"
	default:
		return "missed"
	}
}

func printTable(out io.Writer, lines []line) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\twhat\tours\tpeer\t\tratio\tmin–max\taim\t")
	for i, l := range lines {
		fmt.Fprintf(w, "%d\t%s\n", i+1, l)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for i, l := range lines {
		fmt.Fprintf(out, "%d  %s\n", i+1, l.compared)
	}
	_, err := fmt.Fprintln(out, "Ours and peer are medians of the rounds, or the worst of them where that is said. The ratio is the median of the rounds' ratios, "+
		"each of runs one after the other or at the same time. min–max and the aim are about ours where they have a unit, else about the ratio.")
	return err
}

// String is the line with a tab between two columns.
func (l line) String() string {
	theirs, ratio, aim := "–", "–", "–"
	if l.peer != "" {
		theirs, ratio = amount(l.theirs, l.unit), fmt.Sprintf("%.2f", l.ratio)
	}
	spread := fmt.Sprintf("%.2f–%.2f", l.low, l.high)
	if l.absolute() {
		spread = fmt.Sprintf("%.*f–%s", decimals(l.high), l.low, amount(l.high, l.unit))
	}
	switch {
	case l.zero:
		aim = "0 " + l.unit
	case l.most > 0:
		aim = "≤ " + amount(l.most, l.unit)
	case l.aim > 0:
		aim = fmt.Sprintf("≤ %.2f", l.aim)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", l.name, amount(l.ours, l.unit), theirs, l.peer, ratio, spread, aim, l.verdict())
}

// amount prints three digits that count.
func amount(v float64, unit string) string { return fmt.Sprintf("%.*f %s", decimals(v), v, unit) }

func decimals(v float64) int {
	switch v = math.Abs(v); {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	default:
		return 2
	}
}
