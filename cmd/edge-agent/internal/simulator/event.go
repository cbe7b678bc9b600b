package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// eventScript is one of the [[events]] of a script. Which of the keys it may have is up to what it does.
type eventScript struct {
	Do     string          `toml:"do"`
	Stream string          `toml:"stream"`
	At     config.Duration `toml:"at"`
	Every  config.Duration `toml:"every"`
	Times  int             `toml:"times"`

	// Which sessions or calls, and where in a session.
	On       string `toml:"on"`
	Count    int    `toml:"count"`
	Fragment int    `toml:"fragment"`
	Byte     int64  `toml:"byte"`

	// What exactly.
	For       config.Duration `toml:"for"`
	Rate      int             `toml:"rate"`
	Bytes     int             `toml:"bytes"`
	ID        int             `toml:"id"`
	Code      string          `toml:"code"`
	Bare      bool            `toml:"bare"`
	Reversed  bool            `toml:"reversed"`
	Abrupt    bool            `toml:"abrupt"`
	Open      bool            `toml:"open"`
	What      string          `toml:"what"`
	Exception string          `toml:"exception"`
	Message   string          `toml:"message"`
	Operation string          `toml:"operation"`
	Endpoint  *string         `toml:"endpoint"` // "" is one too
	File      string          `toml:"file"`
	Clip      string          `toml:"clip"`

	// An answer that is not the service's.
	Status      int    `toml:"status"`
	ContentType string `toml:"content_type"`
	Body        string `toml:"body"`
	Gzip        bool   `toml:"gzip"`
	Location    string `toml:"location"`
}

// verb is something that an event can do.
type verb struct {
	kind kvstest.Kind          // of a fault of sessions, or
	do   func(*kvstest.Stream) // what happens to a stream, or
	keys []string              // what is up to other keys of the event, besides those that say when and whose
}

var (
	eventKeys = []string{"do", "stream", "at", "every", "times"}
	faultKeys = []string{"on", "count", "fragment", "byte"}
	callKeys  = []string{"operation", "count"}
)

// floods are what a flood can consist of, as it is repeated.
var floods = map[string][]byte{
	"": kvstest.Void(), "void": kvstest.Void(), "zeros": kvstest.ZerosOf(16), "garbage": kvstest.GarbageOf(16),
}

// verbs are what events can do.
var verbs = map[string]verb{
	"cut":       {kind: kvstest.Cut},
	"drop":      {kind: kvstest.Drop},
	"end":       {kind: kvstest.End},
	"limit":     {kind: kvstest.Limit},
	"fail":      {kind: kvstest.Fail, keys: []string{"id", "code", "bare", "reversed", "abrupt", "open", "for"}},
	"stall":     {kind: kvstest.Stall, keys: []string{"for"}},
	"slow":      {kind: kvstest.Slow, keys: []string{"for", "rate"}},
	"garbage":   {kind: kvstest.Garbage, keys: []string{"bytes"}},
	"duplicate": {kind: kvstest.Duplicate},
	"swap":      {kind: kvstest.Swap},
	"flood":     {kind: kvstest.Flood, keys: []string{"what", "for", "rate"}},

	"refuse":          {keys: append([]string{"exception", "status", "message"}, callKeys...)},
	"hang":            {keys: append([]string{"for"}, callKeys...)},
	"answer":          {keys: append([]string{"status", "content_type", "body", "gzip"}, callKeys...)},
	"redirect":        {keys: append([]string{"status", "location"}, callKeys...)},
	"misdirect":       {keys: []string{"count", "endpoint"}},
	"ignore_selector": {keys: []string{"count"}},

	"change": {keys: []string{"file", "clip"}},
	"create": {keys: []string{"file", "clip"}},

	"stop":    {do: (*kvstest.Stream).Stop},
	"produce": {do: (*kvstest.Stream).Produce},
	"forget":  {do: (*kvstest.Stream).Forget},
	"erase":   {do: (*kvstest.Stream).Erase},
	"delete":  {do: (*kvstest.Stream).Delete},
	"heal":    {do: func(s *kvstest.Stream) { s.Always() }},
}

// event reads an event, of which present are the keys that are written.
func (r *scriptReader) event(at string, e eventScript, present []string, streams []streamScript) kvstest.Event {
	out := kvstest.Event{
		Name: e.Do, Stream: e.Stream, At: time.Duration(e.At), Every: time.Duration(e.Every), Times: e.Times,
	}
	if e.Do == "" {
		r.invalid(at+".do", "is missing", "It says what happens, such as \"cut\".")
		return out
	}
	v := oneOf(r, at+".do", e.Do, verbs)
	if v.kind == 0 && v.do == nil && v.keys == nil {
		return out
	}
	r.checkEventKeys(at, e, v, present)
	r.checkEvent(at, e, streams)
	switch {
	case v.kind != 0:
		out.Do = r.fault(at, e, v.kind)
	case v.do != nil:
		out.Do = v.do
	case e.Do == "change":
		out.Do = r.change(at, e)
	case e.Do == "create":
		out.Do = r.create(at, e)
	default:
		out.Do = r.callFault(at, e)
	}
	return out
}

// checkEventKeys wants no key that means nothing to what an event does.
func (r *scriptReader) checkEventKeys(at string, e eventScript, v verb, present []string) {
	known := slices.Concat(eventKeys, v.keys)
	if v.kind != 0 {
		known = append(known, faultKeys...)
	}
	for _, key := range present {
		if !slices.Contains(known, key) {
			r.invalid(at+"."+key, fmt.Sprintf("means nothing to %q", e.Do), "It knows "+strings.Join(known, ", ")+".")
		}
	}
}

// checkEvent wants an event to be about a stream that is there, and numbers that make sense.
func (r *scriptReader) checkEvent(at string, e eventScript, streams []streamScript) {
	if e.Stream != "" && !slices.ContainsFunc(streams, func(s streamScript) bool { return s.Name == e.Stream }) {
		r.invalid(at+".stream", fmt.Sprintf("= %q is not among the streams", e.Stream), "Name one of them, or leave it out to mean all.")
	}
	if e.Times > 1 && e.Every == 0 {
		r.invalid(at+".times", "is set but every is not", "Say with every after how long it happens again.")
	}
	for key, value := range map[string]int64{
		"times": int64(e.Times), "count": int64(e.Count), "fragment": int64(e.Fragment), "byte": e.Byte,
		"rate": int64(e.Rate), "bytes": int64(e.Bytes), "status": int64(e.Status),
	} {
		if value < 0 {
			r.invalid(at+"."+key, "is negative", "It is zero or more.")
		}
	}
}

// fault makes what injects a fault into sessions.
func (r *scriptReader) fault(at string, e eventScript, kind kvstest.Kind) func(*kvstest.Stream) {
	f := r.describeFault(at, e, kind)
	on := e.On
	if on == "" {
		on = "open"
		if e.At == 0 && e.Every == 0 { // nothing is open yet
			on = "next"
		}
	}
	switch on {
	case "open":
		return func(s *kvstest.Stream) { s.Inject(f) }
	case "next":
		return func(s *kvstest.Stream) { s.Next(slices.Repeat([]kvstest.Fault{f}, max(1, e.Count))...) }
	case "every":
		return func(s *kvstest.Stream) { s.Always(f) }
	}
	r.invalid(at+".on", fmt.Sprintf("= %q is not known", on), config.DidYouMean(on, []string{"open", "next", "every"}))
	return nil
}

// describeFault takes the fault itself from an event.
func (r *scriptReader) describeFault(at string, e eventScript, kind kvstest.Kind) kvstest.Fault {
	f := kvstest.Fault{
		Kind: kind, Fragment: e.Fragment, At: e.Byte, For: time.Duration(e.For), Rate: e.Rate,
		ID: e.ID, Code: e.Code, Bare: e.Bare, Reversed: e.Reversed, Abrupt: e.Abrupt, Open: e.Open,
	}
	switch {
	case kind == kvstest.Garbage:
		f.Data = kvstest.GarbageOf(max(1, e.Bytes))
	case kind == kvstest.Flood:
		f.Data = oneOf(r, at+".what", e.What, floods)
	case kind == kvstest.Fail && e.ID == 0 && e.Code == "":
		r.invalid(at+".id", "and code are missing", "A failure says at least one of them; 4500 is a KMS key that may not be used.")
	case kind == kvstest.Fail && e.Code == "":
		f.Code = kvstest.ErrorCodes[e.ID]
	case kind == kvstest.Slow && e.Rate == 0:
		r.invalid(at+".rate", "is missing", "Say how many bytes a second are left.")
	}
	return f
}

// change makes what has a producer go on with another clip.
func (r *scriptReader) change(at string, e eventScript) func(*kvstest.Stream) {
	source := r.source(at, material{e.File, e.Clip})
	if source != nil && source.IsCapture() {
		r.invalid(at+".file", "is a capture of GetMedia", "A stream can only go on with a clip.")
	}
	return func(s *kvstest.Stream) {
		// A capture does not change, as it minds no other event of the producer.
		_ = s.Change(source)
	}
}

// create makes what creates a stream, from another file or clip where one is named.
func (r *scriptReader) create(at string, e eventScript) func(*kvstest.Stream) {
	var source *kvstest.Source
	if e.File != "" || e.Clip != "" {
		source = r.source(at, material{e.File, e.Clip})
	}
	return func(s *kvstest.Stream) {
		// A stream that exists stays as it is.
		_ = s.Create(source)
	}
}
