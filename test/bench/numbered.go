package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The numbered clip has its frame number in the picture. It has B-frames, which come before their turn.
const (
	numberedFrames = 300
	numberedLength = numberedFrames * time.Second / clipFPS
)

// numbered is a live stream of which every picture says when it was captured, and the other stream, of which the
// same is true.
type numbered struct {
	*service
	began, otherBegan time.Time // when their frames 0 were captured
}

// numberedStream is made when it is needed first. Its service ends with ctx.
func (b *bench) numberedStream(ctx context.Context) (*numbered, error) {
	if b.numbered != nil {
		return b.numbered, nil
	}
	small, file := filepath.Join(b.dir, "clock.mkv"), filepath.Join(b.dir, "numbered.mkv")
	if err := os.WriteFile(small, clip.H264(), 0o600); err != nil {
		return nil, err
	}
	gop := strconv.Itoa(int(clipGOP.Seconds() * clipFPS))
	err := ffmpeg(ctx, "-i", small, "-frames:v", strconv.Itoa(numberedFrames), "-vf", "scale=1920:1080",
		"-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", "5M", file)
	if err != nil {
		return nil, err
	}
	n := &numbered{}
	if n.service, err = startService(ctx, file); err != nil {
		return nil, err
	}
	if n.began, err = n.firstFrame(ctx, streamName); err == nil {
		n.otherBegan, err = n.firstFrame(ctx, otherStream)
	}
	if err != nil {
		n.stop()
		return nil, err
	}
	b.numbered = n
	return n, nil
}

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
