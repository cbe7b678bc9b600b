package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/edge-agent/edge-agent/ingest"
)

func TestPositionsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if need be")
	p := OpenPositions(dir)
	if p.Err() != nil {
		t.Fatal(p.Err())
	}
	if got, err := p.Load("gate"); err != nil || got != (ingest.Position{}) {
		t.Errorf("a new file gives %+v, %v", got, err)
	}
	want := ingest.Position{Token: "t2", Fragment: "2"}
	p.Save("gate", ingest.Position{Token: "t1", Fragment: "1"})
	p.Save("gate", want)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = OpenPositions(dir)
	defer p.Close()
	if got, err := p.Load("gate"); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, _ := p.Load("yard"); got != (ingest.Position{}) {
		t.Errorf("another stream has %+v", got)
	}
}

// Two agents on one folder would take each other's places.
func TestPositionsAreOneAgents(t *testing.T) {
	dir := t.TempDir()
	first := OpenPositions(dir)
	defer first.Close()
	if second := OpenPositions(dir); second.Err() == nil {
		t.Error("a second agent uses the same file")
	}
}

// Without a file the agent works: it says why it forgets, and every start is a first start.
func TestPositionsWithoutAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := OpenPositions(filepath.Join(file, "below"))
	if p.Err() == nil {
		t.Fatal("a folder was made below a file")
	}
	if at, err := p.Load("gate"); err != nil || at != (ingest.Position{}) {
		t.Errorf("%+v, %v", at, err)
	}
	p.Save("gate", ingest.Position{Token: "t"})
	if err := p.Flush(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// The positions are written again into a new file when the old one was damaged or removed while in use.
func TestPositionsStartOver(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"cut short": func(dir string) error { return os.Truncate(filepath.Join(dir, "state.db"), 0) },
		"removed":   os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			p := OpenPositions(dir)
			want := ingest.Position{Token: "t", Fragment: "1"}
			p.Save("gate", want)
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			if found, err := p.Renew(); found != nil || err != nil {
				t.Fatalf("in order: %v, %v", found, err)
			}
			if err := harm(dir); err != nil {
				t.Fatal(err)
			}
			if found, err := p.Renew(); found == nil || err != nil {
				t.Fatalf("found %v, %v", found, err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = OpenPositions(dir)
			defer p.Close()
			if got, err := p.Load("gate"); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// A damaged file costs the positions that it held, not those of the future.
func TestPositionsSurviveADamagedFile(t *testing.T) {
	dir := t.TempDir()
	p := OpenPositions(dir)
	p.Save("gate", ingest.Position{Token: "t"})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * os.Getpagesize() { // both meta pages
		content[i] ^= 0xFF
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	p = OpenPositions(dir)
	defer p.Close()
	if p.Err() != nil || p.damage == nil {
		t.Fatalf("err %v, damage %v", p.Err(), p.damage)
	}
	p.Save("gate", ingest.Position{Token: "u"})
	if err := p.Flush(); err != nil {
		t.Error(err)
	}
}
