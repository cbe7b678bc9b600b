package kvstest

import (
	"errors"
	"time"
)

// What becomes of a stream's production and of what the service keeps of it. Captures and streams that
// do not exist ignore it.

// Stop ends production after the fragment that is being produced: sessions run dry and end.
func (s *Stream) Stop() {
	s.produced(func(_ *live, t *timeline, at time.Time, _ int64) { t.stop(at) })
}

// Produce goes on with production after Stop, with the next fragment number and a gap in the timestamps.
func (s *Stream) Produce() {
	s.produced(func(_ *live, t *timeline, at time.Time, _ int64) { t.produce(at) })
}

// Change goes on with another clip, after the fragment that is being produced: another size or codec, from another
// CodecPrivate on.
func (s *Stream) Change(source *Source) error {
	l := s.live()
	if l == nil || source.capture != nil {
		return errors.New("kvstest: only a stream that exists and plays a clip can be changed, to another clip")
	}
	f, err := newFilm(source, l.config.Layout, l.config.Fragment)
	if err != nil {
		return err
	}
	s.produced(func(_ *live, t *timeline, _ time.Time, newest int64) { t.reel.change(newest+1, f) })
	return nil
}

// Forget makes all continuation tokens so far stale. The numbers of their fragments stay good.
func (s *Stream) Forget() {
	s.produced(func(l *live, _ *timeline, _ time.Time, newest int64) { l.stale = newest - 1 })
}

// Erase loses all fragments but the one that is being produced, as if retention had come to an end for them. A session
// that is behind still gets what it has not had yet.
func (s *Stream) Erase() {
	s.produced(func(l *live, _ *timeline, _ time.Time, newest int64) { l.oldest = max(0, newest) })
}

// produced does something to a live stream and has its sessions look again at what there is to send.
func (s *Stream) produced(do func(l *live, t *timeline, at time.Time, newest int64)) {
	l := s.live()
	if l == nil {
		return
	}
	l.mu.Lock()
	at := s.clock.now().Add(-l.config.Delay) // when the frames that are there now were captured
	do(l, l.timeline, at, l.timeline.begun(at))
	l.mu.Unlock()
	s.wake()
}
