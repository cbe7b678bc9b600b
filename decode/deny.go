package decode

import (
	"maps"
	"slices"
	"time"
)

// The time a plan is denied after a failure doubles with each one.
const (
	denyFirst = 30 * time.Second
	denyMost  = time.Hour
	// denyForgive is how long a plan must have worked for its past to be forgotten.
	denyForgive = 10 * time.Minute
	// denyForgiveSoon is the same for what is treated leniently.
	denyForgiveSoon = time.Minute
)

// denyList remembers what failed. It is pure: the clock is an argument.
type denyList struct {
	entries map[string]denial
}

type denial struct {
	times int
	until time.Time
}

// deny keeps something from being used for a while, after it had worked that long. What is
// lenient is tried again at once when it had worked and fails for the first time: what comes
// after it would be worse, and most likely something else is to blame.
func (l *denyList) deny(name string, worked time.Duration, lenient bool, now time.Time) time.Duration {
	if l.entries == nil {
		l.entries = make(map[string]denial)
	}
	d := l.entries[name]
	if worked >= denyForgive || lenient && worked >= denyForgiveSoon {
		d.times = 0
	}
	doubled := d.times
	if lenient {
		doubled = max(0, doubled-1)
	}
	span := min(denyFirst<<min(doubled, 16), denyMost)
	if lenient && d.times == 0 && worked > 0 {
		span = 0
	}
	l.entries[name] = denial{times: d.times + 1, until: now.Add(span)}
	return span
}

// forget takes back what was held against something.
func (l *denyList) forget(name string) { delete(l.entries, name) }

func (l *denyList) denied(name string, now time.Time) bool {
	return now.Before(l.entries[name].until)
}

// soonest orders names by the end of their denial, those that are equal as they are.
func (l *denyList) soonest(a, b string) int {
	return l.entries[a].until.Compare(l.entries[b].until)
}

// names lists what is denied now.
func (l *denyList) names(now time.Time) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(l.entries)) {
		if l.denied(name, now) {
			list = append(list, name)
		}
	}
	return list
}
