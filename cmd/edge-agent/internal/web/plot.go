package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// The plot of a stream's lag over the last hour, in units of its drawing.
const (
	plotWidth, plotHeight = 720, 180
	plotLeft, plotBottom  = 64, 26 // for the labels
	plotTop, plotRight    = 10, 8
	plotTime              = time.Hour
	plotGap               = 90 * time.Second // without a value for longer, the line is interrupted
)

// curve is one line of the plot.
type curve struct {
	Class, Name string
	of          func(Point) time.Duration
}

var curves = []curve{
	{"service", "service", func(p Point) time.Duration { return p.Service }},
	{"producer", "producer", func(p Point) time.Duration { return p.Producer }},
	{"local", "local", func(p Point) time.Duration { return p.Local }},
}

// plot draws the lag as SVG; "" when none was ever known.
func plot(points []Point, now time.Time) template.HTML {
	if highest(points) < 0 {
		return ""
	}
	top := roundUp(highest(points))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" role="img" aria-label="lag over the last hour">`, plotWidth, plotHeight)
	for i := range 3 { // the lines of 0, half and all
		part := time.Duration(i) * (top / 2)
		y := plotY(part, top)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, y, plotWidth-plotRight, y, plotLeft-6, y+4, seconds(part))
	}
	for _, minutes := range []int{60, 45, 30, 15, 0} {
		x := plotX(now.Add(-time.Duration(minutes)*time.Minute), now)
		label, anchor := fmt.Sprintf("−%d min", minutes), "middle"
		if minutes == 0 {
			label, anchor = "now", "end"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="%s">%s</text>`, x, plotHeight-4, anchor, label)
	}
	for _, c := range curves {
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`, c.Class, path(points, c.of, now, top))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // of numbers and the words above alone
}

// path is a curve in the language of SVG: M begins a line, L goes on.
func path(points []Point, of func(Point) time.Duration, now time.Time, top time.Duration) string {
	var b strings.Builder
	var last time.Time
	for _, p := range points {
		v := of(p)
		if v < 0 || now.Sub(p.At) > plotTime {
			continue
		}
		step := "L"
		if p.At.Sub(last) > plotGap {
			step = "M"
		}
		last = p.At
		fmt.Fprintf(&b, "%s%.1f %.1f", step, plotX(p.At, now), plotY(v, top))
	}
	return b.String()
}

func plotX(at, now time.Time) float64 {
	share := 1 - now.Sub(at).Seconds()/plotTime.Seconds()
	return plotLeft + share*(plotWidth-plotLeft-plotRight)
}

func plotY(v, top time.Duration) float64 {
	return plotHeight - plotBottom - v.Seconds()/top.Seconds()*(plotHeight-plotBottom-plotTop)
}

// highest is the highest lag; negative when none is known.
func highest(points []Point) time.Duration {
	most := time.Duration(-1)
	for _, p := range points {
		most = max(most, p.Service, p.Producer, p.Local)
	}
	return most
}

// longest is the highest round number that a duration can have. What is above it is outside the plot.
const longest = 5_000_000_000 * time.Second

// roundUp gives the first of 1, 2 and 5 times a power of ten that is not below v, from a second to longest.
func roundUp(v time.Duration) time.Duration {
	v = min(v, longest) // a service may say anything
	for step := time.Second; ; step *= 10 {
		for _, times := range []time.Duration{1, 2, 5} {
			if step*times >= v {
				return step * times
			}
		}
	}
}

// seconds writes a duration as people read it on an axis.
func seconds(d time.Duration) string {
	if d < time.Second && d > 0 {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}
