package forms

import (
	"bytes"
	"io"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Every form is a sequence of whole fragments with all the blocks in it.
func TestCaptures(t *testing.T) {
	for codec, file := range map[string][]byte{"h264": clip.H264(), "h265": clip.H265()} {
		c, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		c = c.First(60)
		for name, form := range map[string]Clip{
			"plain": c, "annex b": AnnexB(c, 1), "config and annex b": ConfigAndAnnexB(c), "no sets": NoSets(c),
			"late sets": LateSets(c, 1), "in band": InBand(c), "sets apart": SetsApart(c, true), "slices apart": SlicesApart(c, false),
			"vfw": VFW(c), "twice": Twice(c), "audio": AudioOnly(),
		} {
			blocks, fragments := read(t, form.Capture())
			if blocks != len(form.Blocks) || fragments < 2 {
				t.Errorf("%s, %s: %d blocks in %d fragments, of %d", codec, name, blocks, fragments, len(form.Blocks))
			}
		}
	}
}

// The number of blocks is the same but where a form splits them.
func TestBlocks(t *testing.T) {
	c, err := Read(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	c = c.First(60) // two groups, three parameter sets
	for name, tc := range map[string]struct {
		form   Clip
		blocks int
	}{"sets apart": {SetsApart(c, false), 66}, "twice": {Twice(c), 120}, "in band": {InBand(c), 60}} {
		if n := len(tc.form.Blocks); n != tc.blocks {
			t.Errorf("%s: %d blocks, not %d", name, n, tc.blocks)
		}
	}
}

func read(t *testing.T, capture []byte) (blocks, fragments int) {
	t.Helper()
	r := mkv.NewReader(bytes.NewReader(capture))
	for {
		event, err := r.Next()
		if err == io.EOF {
			return blocks, fragments
		}
		if err != nil {
			t.Fatal(err)
		}
		switch event := event.(type) {
		case *mkv.Frame:
			blocks++
		case *mkv.End:
			if event.Err != nil || !event.Fragment.Complete() {
				t.Fatalf("fragment %s: %v", event.Fragment.Number, event.Err)
			}
			fragments++
		}
	}
}
