package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// row is one row of the table: a figure of ours against the same of a peer.
type row struct {
	name     string
	figure   string // of both sides' runs
	unit     string
	peer     string  // name of the side to compare with
	than     string  // the peer's figure; "" for the same as ours
	aim      float64 // the ratio is to be this or less; 0: there is no aim
	compared string  // what exactly is compared, for the notes below the table
}

// line is a row with its figures.
type line struct {
	row
	ours, theirs     float64 // medians
	ratio, low, high float64 // of the rounds' ratios: median, least, greatest; 0 without figures
}

// line takes the ratio within each round, because two runs one after the other see the same machine, and the median
// over all of them.
func (r row) line(rounds []round) line {
	l := line{row: r}
	if len(rounds) == 0 {
		return l
	}
	var own, their, ratios []float64
	than := cmp.Or(r.than, r.figure)
	for _, one := range rounds {
		a, b := one[ours][r.figure], one[r.peer][than]
		own, their, ratios = append(own, a), append(their, b), append(ratios, a/b)
	}
	l.ours, l.theirs, l.ratio = median(own), median(their), median(ratios)
	l.low, l.high = slices.Min(ratios), slices.Max(ratios)
	return l
}

// median is the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// verdict compares the median with the aim, as both are printed.
func (l line) verdict() string {
	switch {
	case l.ratio == 0:
		return "not measured"
	case l.aim == 0:
		return ""
	case l.ratio < l.aim+0.005:
		return "reached"
	default:
		return "missed"
	}
}

func printTable(out io.Writer, lines []line) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\twhat\tours\tpeer\t\tratio\tmin–max\taim\t")
	for i, l := range lines {
		aim := "–"
		if l.aim > 0 {
			aim = fmt.Sprintf("≤ %.2f", l.aim)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f–%.2f\t%s\t%s\n", i+1, l.name,
			amount(l.ours, l.unit), amount(l.theirs, l.unit), l.peer, l.ratio, l.low, l.high, aim, l.verdict())
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	for i, l := range lines {
		fmt.Fprintf(out, "%d  %s\n", i+1, l.compared)
	}
	_, err := fmt.Fprintln(out, "Ours and peer are medians; the ratio is the median of the rounds' ratios, each of runs one after the other.")
	return err
}

// amount prints three digits that count.
func amount(v float64, unit string) string {
	decimals := 2
	switch {
	case v >= 100:
		decimals = 0
	case v >= 10:
		decimals = 1
	}
	return fmt.Sprintf("%.*f %s", decimals, v, unit)
}
