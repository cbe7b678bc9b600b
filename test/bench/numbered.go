package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The numbered clips have their frame number in the picture.
const (
	numberedFrames = 300
	numberedLength = numberedFrames * time.Second / clipFPS
)

// numberedForm tells the numbered streams apart.
type numberedForm struct {
	gop     time.Duration // also the duration of a fragment
	bFrames int           // between two others, at most; they come before their turn
	history time.Duration // for which the stream had been produced when its service started
}

// usualForm is that of the stream that most contests look at.
var usualForm = numberedForm{gop: clipGOP, bFrames: 2}

// numbered is a live stream of which every picture says when it was captured, and the other stream, of which the
// same is true.
type numbered struct {
	*service
	form              numberedForm
	began, otherBegan time.Time // when their frames 0 were captured
}

// numberedStream is the one of the usual form.
func (b *bench) numberedStream(ctx context.Context) (*numbered, error) {
	return b.numberedOf(ctx, usualForm)
}

// numberedOf is made when it is needed first. Its service ends with ctx.
func (b *bench) numberedOf(ctx context.Context, form numberedForm) (*numbered, error) {
	if n := b.numbered[form]; n != nil {
		return n, nil
	}
	file, err := b.numberedClip(ctx, form)
	if err != nil {
		return nil, err
	}
	n := &numbered{form: form}
	if n.service, err = startService(ctx, file, form.history); err != nil {
		return nil, err
	}
	if n.began, err = n.firstFrame(ctx, streamName); err == nil {
		n.otherBegan, err = n.firstFrame(ctx, otherStream)
	}
	if err != nil {
		n.stop()
		return nil, err
	}
	b.numbered[form] = n
	return n, nil
}

// numberedClip is the file that a numbered stream repeats.
func (b *bench) numberedClip(ctx context.Context, form numberedForm) (file string, err error) {
	file = filepath.Join(b.dir, fmt.Sprintf("numbered-%v-%d.mkv", form.gop, form.bFrames))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	small := filepath.Join(b.dir, "clock.mkv")
	if err := os.WriteFile(small, clip.H264(), 0o600); err != nil {
		return "", err
	}
	gop := strconv.Itoa(int(form.gop.Seconds() * clipFPS))
	return file, ffmpeg(ctx, "-i", small, "-frames:v", strconv.Itoa(numberedFrames), "-vf", "scale=1920:1080",
		"-c:v", "libx264", "-preset", "veryfast", "-bf", strconv.Itoa(form.bFrames),
		"-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", "5M", file)
}

// place is how far into its group of pictures the newest frame is.
func (n *numbered) place(now time.Time) time.Duration { return now.Sub(n.began) % n.form.gop }

// firstFrame is when the producer captured the first frame of a stream.
func (n *numbered) firstFrame(ctx context.Context, stream string) (time.Time, error) {
	body, err := getMedia(ctx, n.url, stream, "EARLIEST")
	if err != nil {
		return time.Time{}, err
	}
	defer body.Close()
	r := mkv.NewReader(body)
	for {
		event, err := r.Next()
		if err != nil {
			return time.Time{}, err
		}
		if tags, ok := event.(*mkv.Tags); ok && !tags.Fragment.ProducerTime.IsZero() {
			return tags.Fragment.ProducerTime, nil
		}
	}
}

// age is how long before now the newest frame of that number was captured.
func (n *numbered) age(number int, now time.Time) time.Duration { return age(n.began, number, now) }

// ageOfOther is the same for the other stream.
func (n *numbered) ageOfOther(number int, now time.Time) time.Duration {
	return age(n.otherBegan, number, now)
}

func age(began time.Time, number int, now time.Time) time.Duration {
	captured := began.Add(time.Duration(number) * time.Second / clipFPS)
	return (now.Sub(captured)%numberedLength + numberedLength) % numberedLength
}
