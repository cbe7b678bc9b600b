package decode

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Clip is a short recording, to try decoders with.
type Clip struct {
	Format format.Format
	Units  []Unit
}

// ReadClip reads the first frames, at most n, of the video in a Matroska file.
func ReadClip(r io.Reader, n int) (Clip, error) {
	var c Clip
	var chosen tracks
	var blocks format.Assembler
	events := mkv.NewReader(r)
	for len(c.Units) < n {
		event, err := events.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Clip{}, err
		}
		f, ok := event.(*mkv.Frame)
		if !ok || f.Track.Type != mkv.Video {
			continue
		}
		if !chosen.known(f.Track) && chosen.add(f.Track) && blocks.Track == nil {
			if err := blocks.Begin(chosen.used); err != nil {
				return Clip{}, err
			}
		}
		if f.Track.Number != blocks.Track.Number {
			continue
		}
		if err := c.add(&blocks, f); err != nil {
			return Clip{}, err
		}
	}
	if len(c.Units) == 0 {
		return Clip{}, report.Errorf(report.CodeCodec, "the clip has no video that can be decoded")
	}
	return c, nil
}

// add adds a block of the clip's track, whose pictures have one block each.
func (c *Clip) add(blocks *format.Assembler, f *mkv.Frame) error {
	read, err := blocks.Scan(f.Data)
	if err != nil {
		return err
	}
	blocks.Learn(read.Sets)
	if read.Slices == 0 {
		blocks.KeepPrefix(read)
		return nil
	}
	key := f.Key || read.Recovery || blocks.Recovery
	format, _ := blocks.FormatFor(key)
	if format == nil {
		return report.Errorf(report.CodeNoKeyFrame, "the clip does not begin with a key frame and parameter sets")
	}
	if len(c.Units) == 0 {
		c.Format = *format
	}
	c.Units = append(c.Units, Unit{Format: format, Data: bytes.Clone(blocks.Unit(read)), Time: f.Time, Key: key})
	return nil
}

// stage is where trials run: children that are started, asked and stopped.
type stage struct {
	launch
	limit time.Duration // for one child from its start to its end
	log   *slog.Logger
}

// converse runs one child for as long as talk talks to it, at most for the limit. The error
// is why the child ended when that was before talk had finished, else that of talk.
func (s *stage) converse(ctx context.Context, talk func(ctx context.Context, l *line) error) error {
	l := s.launch
	l.trial = true
	c, err := startChild(l)
	if err != nil {
		return notStarted(err)
	}
	conn := &line{in: NewReader(c.conn, FromRenderer), out: NewWriter(c.conn)}
	running, end := context.WithCancelCause(ctx)
	unblock := context.AfterFunc(running, func() { _ = c.conn.SetDeadline(time.Now()) })
	defer unblock()
	overdue := time.AfterFunc(s.limit, func() { end(conn.overdue(s.limit)) })
	defer overdue.Stop()
	var all sync.WaitGroup
	all.Go(func() { c.copyLog(s.log) })
	all.Go(func() { end(c.ending(running)) })

	err = talk(running, conn)
	if err != nil {
		var f *failure
		if !errors.As(err, &f) { // a connection that broke; the end of the process says why
			c.saidAll()
			err = broken(running, err)
		}
	}
	end(err)
	c.stop(0)
	all.Wait()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// line is the connection to a child on the stage.
type line struct {
	in    *Reader
	out   *Writer
	heard atomic.Int64 // UnixNano of the last message
}

// overdue says what is wrong with a child that did not end in time.
func (l *line) overdue(limit time.Duration) error {
	heard := time.Unix(0, l.heard.Load())
	if time.Since(heard) > 5*StatusInterval {
		return failed(report.CodeHang, "the renderer process hung; it was given %v", limit)
	}
	return failed(report.CodeSilent, "the pictures did not all come within %v", limit)
}

// await reads messages up to one of the kind, and decodes it into v. A Failure is an error.
func (l *line) await(kind Kind, v any) error {
	for {
		m, err := l.in.Next()
		if err != nil {
			return err
		}
		l.heard.Store(time.Now().UnixNano())
		switch m.Kind {
		case kind:
			return m.decodeBounded(v)
		case KindFailure:
			var f Failure
			if err := m.decodeBounded(&f); err != nil {
				return err
			}
			return f.failure()
		}
	}
}

// greeting reads what a child says first.
func (l *line) greeting(h *Hello) error {
	if err := l.await(KindHello, h); err != nil {
		return err
	}
	return h.check()
}

// describe gives what a child says of itself, and the device nodes of those of its elements
// that pick picks; it opens them or not.
func (s *stage) describe(ctx context.Context, opened bool, pick func(found []string) []string) (h Hello, d Devices, err error) {
	err = s.converse(ctx, func(_ context.Context, l *line) error {
		if err := l.greeting(&h); err != nil {
			return err
		}
		if err := l.out.JSON(KindDescribe, Describe{Elements: pick(h.Elements), Opened: opened}); err != nil {
			return err
		}
		return l.await(KindDevices, &d)
	})
	return h, d, err
}

// trial is what a plan made of a clip.
type trial struct {
	status Status
	took   time.Duration // from the start of the pipeline to the last picture
}

// try decodes the units by a plan and shows them nowhere.
func (s *stage) try(ctx context.Context, p plan.Plan, units []Unit) (t trial, err error) {
	p.Display, p.Unpaced, p.Checksums = plan.Display{Sink: plan.None}, true, true
	err = s.converse(ctx, func(ctx context.Context, l *line) error {
		var h Hello
		if err := l.greeting(&h); err != nil {
			return err
		}
		if err := l.out.JSON(KindOpen, Open{Number: 1, Plan: p}); err != nil {
			return err
		}
		var o Opened
		if err := l.await(KindOpened, &o); err != nil {
			return err
		}
		began := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() { l.send(units) })
		err := l.await(KindDrained, &t.status)
		t.took = time.Since(began)
		sending.Wait()
		return err
	})
	return t, err
}

// send sends all units and asks for the end. What goes wrong is seen by the reader.
func (l *line) send(units []Unit) {
	for _, u := range units {
		u.Replay = false
		if l.out.Frame(u) != nil {
			return
		}
	}
	_ = l.out.Raw(KindDrain, 0, 0, nil)
}

// enough says whether at least so many pictures came.
func (t trial) enough(pictures int) error {
	if t.status.Decoded < uint64(pictures) {
		return failed(report.CodeSilent, "of %d frames only %d became pictures", t.status.Fed, t.status.Decoded)
	}
	return nil
}

// verdict says whether the pictures can be those of a clip in which every frame differs.
func (t trial) verdict(frames int) error {
	few := frames - frames/10
	if err := t.enough(few); err != nil {
		return err
	}
	return t.differ(few)
}

// works says whether the pictures can be those of frames of a stream, of which less is known.
// A stream that is known to stand still makes pictures that do not differ.
func (t trial) works(units []Unit, still bool) error {
	const fields = 3 // and a little: two fields may come as two frames
	if err := t.enough(max(1, len(units)/fields)); err != nil {
		return err
	}
	if still {
		return nil
	}
	restless := 0
	for _, u := range units {
		if u.restless() {
			restless++
		}
	}
	return t.differ(restless / fields)
}

// differ says whether at least so many pictures differ from all others. Those that cannot be seen do.
func (t trial) differ(least int) error {
	distinct := map[string]bool{}
	unseen := 0
	for _, sum := range t.status.Checksums {
		if sum == "" {
			unseen++
		} else {
			distinct[sum] = true
		}
	}
	if n := len(distinct) + unseen; n < least {
		return failed(report.CodeStale, "of %d pictures only %d differ: the driver delivers the same again and again", t.status.Decoded, n)
	}
	return nil
}

// fps is how fast the pictures came, rounded to a tenth.
func (t trial) fps() float64 {
	return math.Round(float64(t.status.Decoded)/t.took.Seconds()*10) / 10
}
