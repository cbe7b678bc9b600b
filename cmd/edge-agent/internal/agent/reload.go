package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// reload reads the configuration again and puts into effect what can be without a restart. What a
// set has changed is as in the file, or the device shadow, again. A file with a fault changes nothing.
func (a *Agent) reload() (any, error) {
	a.mu.Lock()
	over := a.shadow.over
	a.mu.Unlock()
	out, err := a.reconfigure(over, a.checkNoStreams)
	if err != nil {
		return nil, err
	}
	a.desireAgain()
	return out, nil
}

// obeyHangups reloads the file when a signal asks for it, until ctx ends.
func (a *Agent) obeyHangups(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.hangup:
		}
		a.carrying.Lock()
		_, err := a.reload()
		a.carrying.Unlock()
		if err != nil {
			f := asResponse(err)
			a.log.Error("the configuration was not reloaded", "code", f.Code, "cause", f.Message)
			continue
		}
		a.log.Info("the configuration was reloaded")
	}
}

// reconfigure puts the file into effect with what a device shadow desires over it, if check has nothing against the
// outcome.
func (a *Agent) reconfigure(over desiredConfig, check func(config.Config) error) (out contract.ReloadData, err error) {
	if a.file == "" {
		return out, &failure.Failure{Code: CodeFailed, Message: "this agent has no configuration file"}
	}
	next, err := config.LoadUnder(a.file, over.Config)
	if err != nil {
		return out, err
	}
	if err := check(next); err != nil {
		return out, err
	}
	restart := keepStarted(&next, a.started)
	if out, err = a.apply(next); err != nil {
		return out, err
	}
	a.mu.Lock()
	a.shadow.over, a.settled = over, next
	a.mu.Unlock()
	out.ConfigHash, out.Restart = next.Hash(), restart
	return out, nil
}

// checkNoStreams rejects a file without streams for an agent that has some: a file that is just being written looks
// like that. With streams = [] it is meant.
func (a *Agent) checkNoStreams(next config.Config) error {
	n := len(a.all())
	if next.Streams != nil || n == 0 {
		return nil
	}
	return config.Errors{{
		Code: config.CodeInvalid, File: a.file, Key: "streams",
		Message: fmt.Sprintf("is missing (active streams: %d); the file may still be being written", n),
		Action:  "Write all of the file and reload again, or write streams = [] above the first table to remove all streams.",
	}}
}

// keepStarted gives the keys that only a restart can change the value they were started with, and
// lists those that would have another.
func keepStarted(next *config.Config, started config.Config) (restart []string) {
	tables, kept := reflect.ValueOf(next).Elem(), reflect.ValueOf(started)
	for i := range tables.NumField() {
		if table := tables.Field(i); table.Kind() == reflect.Struct {
			restart = append(restart, keepKeys(tables.Type().Field(i).Tag.Get("toml"), table, kept.Field(i))...)
		}
	}
	return restart
}

func keepKeys(name string, table, kept reflect.Value) (restart []string) {
	for i := range table.NumField() {
		key := config.JoinKey(name, table.Type().Field(i).Tag.Get("toml"))
		if slices.Contains(config.Live, key) || reflect.DeepEqual(table.Field(i).Interface(), kept.Field(i).Interface()) {
			continue
		}
		restart = append(restart, key)
		table.Field(i).Set(kept.Field(i))
	}
	return restart
}

// apply puts another configuration into effect, which was checked. Streams whose configuration is the
// same are not touched. On an error nothing has changed.
func (a *Agent) apply(next config.Config) (out contract.ReloadData, err error) {
	now := a.config()
	before := a.all()
	var streams, fresh []*stream
	for _, sc := range next.Streams {
		s, old := a.keep(now, sc)
		if s == nil {
			before, _ := a.find(sc.Name)
			if s, err = a.newStream(next, sc, before); err != nil {
				return out, err
			}
			fresh = append(fresh, s)
		}
		switch {
		case old == nil:
			out.Added = append(out.Added, sc.Name)
		case !reflect.DeepEqual(*old, sc):
			out.Changed = append(out.Changed, sc.Name)
		}
		streams = append(streams, s)
	}
	for _, s := range before {
		if slices.Contains(streams, s) {
			continue
		}
		s.retire()
		if i := slices.IndexFunc(streams, func(other *stream) bool { return other.name == s.name }); i >= 0 {
			streams[i].takeOver(s)
			if otherSource(now, next, s.name) {
				s.input.Restart()
			}
			continue
		}
		s.input.Close()
		out.Removed = append(out.Removed, s.name)
	}
	shown := a.shown()
	a.mu.Lock()
	a.cfg, a.streams = next, streams
	a.mu.Unlock()
	a.nameStreams()
	for _, s := range fresh {
		s.start(a.working)
	}
	a.tune(next)
	a.choose(now, next, shown)
	return out, nil
}

// keep finds the stream that can go on under the configuration sc, nil if there is none, and
// what its configuration was; old is nil when the stream is new.
func (a *Agent) keep(now config.Config, sc config.Stream) (s *stream, old *config.Stream) {
	i := slices.IndexFunc(now.Streams, func(o config.Stream) bool { return o.Name == sc.Name })
	if i < 0 {
		return nil, nil
	}
	old = &now.Streams[i]
	same := *old
	// These change under a running session.
	same.MaxLag, same.DecodeOrder, same.VideoTrack = sc.MaxLag, sc.DecodeOrder, sc.VideoTrack
	if !reflect.DeepEqual(same, sc) {
		return nil, old
	}
	s, _ = a.find(sc.Name)
	return s, old
}

// otherSource says that a stream is pulled from another one of the service by the next configuration. Frames of the one
// before are worth nothing then, and no picture of it may be taken for one of the other.
func otherSource(now, next config.Config, name string) bool {
	source := func(c config.Config) (string, string) {
		i := slices.IndexFunc(c.Streams, func(s config.Stream) bool { return s.Name == name })
		return c.Streams[i].StreamName, c.Streams[i].StreamARN
	}
	nameNow, arnNow := source(now)
	nameNext, arnNext := source(next)
	return nameNow != nameNext || arnNow != arnNext
}

// retire ends a stream for good.
func (s *stream) retire() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

// tune hands the settings on that change while everything runs.
func (a *Agent) tune(next config.Config) {
	if a.level != nil {
		_ = a.level.UnmarshalText([]byte(next.Log.Level)) // it was checked
	}
	a.renderer.SetConnector(next.Display.Connector)
	select {
	case a.retick <- struct{}{}:
	default:
	}
	for i, s := range a.all() {
		sc := next.Streams[i]
		s.session.SetMaxLag(time.Duration(sc.MaxLag))
		s.input.Prefer(streamPreference(next, sc))
		s.input.SelectTrack(string(sc.VideoTrack))
	}
}

// choose shows the stream that is to be shown now. One that is shown stays, unless it is gone or
// the configuration has changed its mind.
func (a *Agent) choose(now, next config.Config, shown string) {
	name := shown
	if now.Display.Show != next.Display.Show {
		name = next.Display.Show
	}
	_, err := a.find(name)
	switch {
	case err == nil:
	case next.Display.Show != "":
		name = next.Display.Show
	case len(next.Streams) > 0:
		name = next.Streams[0].Name
	default:
		a.updateSlate()
		return
	}
	_ = a.Show(name) // it exists
}
