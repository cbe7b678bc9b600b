package web

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// pictureAge is for how long a picture is given again: making one takes a core for a moment, and many may ask.
const pictureAge = time.Second

// pictureTimeout is how long a renderer may take to make one.
const pictureTimeout = 10 * time.Second

// pictures gives what is on the display, made at most once a second whoever asks.
type pictures struct {
	source Source

	mu     sync.Mutex // also while one is made: the others wait for it
	stream string
	jpeg   []byte
	err    error
	made   time.Time
}

func (p *pictures) serve(w http.ResponseWriter, r *http.Request) {
	jpeg, err := p.get(r.Context(), strings.TrimSuffix(r.PathValue("stream"), ".jpg"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(jpeg)
}

func (p *pictures) get(ctx context.Context, stream string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream == stream && time.Since(p.made) < pictureAge {
		return p.jpeg, p.err
	}
	// Not that of the request: the next one may be waiting for the same picture.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pictureTimeout)
	defer cancel()
	jpeg, err := p.source.Picture(ctx, stream)
	if err != nil && p.stream != stream && time.Since(p.made) < pictureAge {
		return nil, err // of a stream that is not shown: asking for one must not have the picture made again
	}
	p.stream, p.jpeg, p.err, p.made = stream, jpeg, err, time.Now()
	return jpeg, err
}
