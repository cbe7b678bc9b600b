package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/edge-agent/edge-agent/ingest"
)

func TestPositionsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if need be")
	p := openPositions(dir)
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
	p = openPositions(dir)
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
	first := openPositions(dir)
	defer first.Close()
	if second := openPositions(dir); second.Err() == nil {
		t.Error("a second agent uses the same file")
	}
}

// Without a file the agent works, and says why it forgets.
func TestPositionsWithoutAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := openPositions(filepath.Join(file, "below"))
	if p.Err() == nil {
		t.Fatal("a folder was made below a file")
	}
	if _, err := p.Load("gate"); err == nil {
		t.Error("Load says nothing")
	}
	p.Save("gate", ingest.Position{Token: "t"})
	if err := p.Flush(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
