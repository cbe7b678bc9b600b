package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/at-wat/ebml-go"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// ebmlGo is the peer: the library that could read the documents as well.
const ebmlGo = "ebml.Unmarshal"

// parsingContest looks at how fast a GetMedia body is taken apart, in memory.
func (b *bench) parsingContest() contest {
	p := &parsing{bench: b}
	return contest{
		name: "parsing", check: p.check,
		ours:  side{ours, p.reader},
		peers: []side{{ebmlGo, p.unmarshal}},
		rows: []row{{
			name: "parse 32 MB in memory: time", figure: "time", unit: "ms", peer: ebmlGo, aim: 0.1,
			compared: "mkv.Reader over a capture in memory, to the last frame, against ebml-go's Unmarshal of its documents one by one, with the blocks " +
				"going into a channel. Both find the same frames.",
		}},
	}
}

type parsing struct {
	*bench
	body      []byte
	documents [][]byte
}

// check makes the capture and cuts it into documents for the peer, and holds both to the same frames.
func (p *parsing) check(ctx context.Context) error {
	c, err := p.makeCapture(ctx, "parse.mkv", min(p.capture, 32<<20))
	if err != nil {
		return err
	}
	if p.body, err = os.ReadFile(c.file); err != nil {
		return err
	}
	r := mkv.NewReader(bytes.NewReader(p.body))
	for {
		ev, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if end, ok := ev.(*mkv.End); ok {
			f := end.Fragment
			p.documents = append(p.documents, p.body[f.Offset:f.Offset+f.Bytes])
		}
	}
	mine, err := p.read()
	if err != nil {
		return err
	}
	theirs, err := p.decode()
	if err == nil && (mine == 0 || mine != theirs) {
		err = errors.New("the two sides do not find the same frames")
	}
	return err
}

func (p *parsing) reader(context.Context) (figures, error)    { return timed(p.read) }
func (p *parsing) unmarshal(context.Context) (figures, error) { return timed(p.decode) }

// timed is the time that work takes.
func timed(work func() (frames int, err error)) (figures, error) {
	began := time.Now()
	_, err := work()
	return figures{"time": float64(time.Since(began).Microseconds()) / 1000}, err
}

func (p *parsing) read() (frames int, err error) {
	r := mkv.NewReader(bytes.NewReader(p.body))
	for {
		ev, err := r.Next()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		if _, ok := ev.(*mkv.Frame); ok {
			frames++
		}
	}
}

// ebmlDocument is what the peer is asked for: as much as the reader gives.
type ebmlDocument struct {
	EBML struct {
		DocType string `ebml:"EBMLDocType"`
	} `ebml:"EBML"`
	Segment struct {
		Tracks struct {
			TrackEntry []struct {
				TrackNumber  uint64
				CodecID      string
				CodecPrivate []byte
			}
		}
		Tags []struct {
			Tag []struct {
				SimpleTag []struct{ TagName, TagString string }
			}
		}
		Cluster struct {
			Timecode    uint64
			SimpleBlock chan ebml.Block
		}
	} `ebml:",size=unknown"`
}

func (p *parsing) decode() (frames int, err error) {
	for _, document := range p.documents {
		var doc ebmlDocument
		blocks := make(chan ebml.Block, 128)
		doc.Segment.Cluster.SimpleBlock = blocks
		counted := make(chan int)
		go func() {
			n := 0
			for range blocks {
				n++
			}
			counted <- n
		}()
		err := ebml.Unmarshal(bytes.NewReader(document), &doc, ebml.WithIgnoreUnknown(true))
		close(blocks)
		frames += <-counted
		if err != nil {
			return frames, err
		}
	}
	return frames, nil
}
