package gst

import (
	"image"
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"
)

// A display that takes no more pictures keeps nobody waiting for longer than was asked for, also if that time is over already.
func TestDrainOfAScreenThatHangs(t *testing.T) {
	s, err := newScreen(decode.Screen{Display: decode.Display{Sink: decode.None}}, func() {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := setState(s.pipeline, gst.StatePaused, startTimeout); err != nil {
		t.Fatal(err)
	}
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	if !s.slate(img) {
		t.Fatal("the screen does not take a picture")
	}
	done := make(chan struct{})
	go func() { s.drain(-time.Second); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("it is waited for")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	<-done
}
