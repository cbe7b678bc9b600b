package decode

import (
	"errors"
	"fmt"
	"testing"

	"github.com/edge-agent/edge-agent/decode/report"
)

// A trial with frames of a stream finds drivers that deliver nothing, or old pictures; a stream that stands still passes.
func TestTrialWorks(t *testing.T) {
	pictures := func(n, distinct int) trial {
		var sums []string
		for i := range n {
			sums = append(sums, fmt.Sprint(i%distinct))
		}
		return trial{status: Status{Fed: 30, Decoded: uint64(n), Checksums: sums}}
	}
	units := func(n, size int) []Unit {
		list := make([]Unit, n)
		for i := range list {
			list[i] = unitOf(0x41, size)
			list[i].Key = i == 0
		}
		return list
	}
	for name, c := range map[string]struct {
		trial trial
		units []Unit
		still bool // the stream is known to
		code  string
	}{
		"works":                         {pictures(30, 30), units(30, restlessSize), false, ""},
		"two fields come as two frames": {pictures(15, 15), units(30, restlessSize), false, ""},
		"no picture":                    {pictures(0, 1), units(2, restlessSize), false, report.CodeSilent},
		"few pictures":                  {pictures(9, 9), units(30, restlessSize), false, report.CodeSilent},
		"the same surfaces in turn":     {pictures(30, 8), units(30, restlessSize), false, report.CodeStale},
		"a stream that stands still":    {pictures(30, 1), units(30, restlessSize-1), false, ""},
		"and is known to":               {pictures(30, 1), units(30, restlessSize), true, ""},
		"known to, and no picture":      {pictures(0, 1), units(2, restlessSize), true, report.CodeSilent},
		"key frames only":               {pictures(1, 1), units(1, restlessSize), false, ""},
	} {
		var f *failure
		err := c.trial.works(c.units, c.still)
		if errors.As(err, &f); c.code != "" && (f == nil || f.Code != c.code) || c.code == "" && err != nil {
			t.Errorf("%s: got %v, want %q", name, err, c.code)
		}
	}
}
