package web

import (
	"bytes"
	_ "embed" // page.html and style.css
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

//go:embed page.html
var pageText string

//go:embed style.css
var styleText []byte

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// view is what the page shows. Everything in it is text for people.
type view struct {
	Status
	Now         string
	Uptime      string
	MQTT        string
	MQTTBad     bool
	Unready     []string
	Streams     []streamView
	EventViews  []eventView
	PassedOver  []string
	HasDisplays bool
}

type streamView struct {
	Name, State, Class string
	Since              string
	Code, Message      string
	Action             string
	Decoder            string
	Shown              bool
	Picture            string // its path; "" for none
	Plot               template.HTML
	Figures            []figure
	Drops              []figure
}

type figure struct{ Name, Value string }

type eventView struct {
	Time, Severity, Code, Stream, Message, Meaning, Action string
	Count                                                  int64
}

func (s *site) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(styleText)
}

func (s *site) page(w http.ResponseWriter, _ *http.Request) {
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, newView(s.source.Status(), s.pictures != nil, time.Now())); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes())
}

// newView puts a status into words.
func newView(s Status, pictures bool, now time.Time) view {
	v := view{
		Status: s, Now: now.UTC().Format("2006-01-02 15:04:05 UTC"), Uptime: rounded(now.Sub(s.Status.StartedAt.Time)),
		Unready: s.unreadiness(), PassedOver: s.Info.PassedOver, HasDisplays: len(s.Info.Displays) > 0,
	}
	v.MQTT, v.MQTTBad = brokerText(s.Broker, s.Status.MQTT, now)
	for i, stream := range s.Status.Streams {
		var totals Totals
		if i < len(s.Totals) {
			totals = s.Totals[i]
		}
		one := newStreamView(stream, totals, now)
		one.Shown = s.Status.Shown == stream.Name
		if one.Shown && pictures {
			one.Picture = "picture/" + stream.Name + ".jpg"
		}
		v.Streams = append(v.Streams, one)
	}
	for _, e := range slices.Backward(s.Events) {
		v.EventViews = append(v.EventViews, newEventView(e))
	}
	return v
}

func brokerText(b Broker, link contract.LinkStatus, now time.Time) (text string, bad bool) {
	switch {
	case b.URL == "":
		return "no broker is configured", false
	case b.Connected:
		text = "connected to " + b.URL + " for " + rounded(now.Sub(link.ConnectedSince.Time))
	default:
		text, bad = "not connected to "+b.URL, true
		if b.Error != "" {
			text += ": " + b.Error
		}
	}
	if link.QueuedEvents > 0 {
		text += fmt.Sprintf("; events waiting: %d", link.QueuedEvents)
	}
	return text, bad
}

func newStreamView(s contract.StreamStatus, totals Totals, now time.Time) streamView {
	code, _ := contract.Lookup(s.State.Code)
	t := s.Telemetry
	v := streamView{
		Name: s.Name, State: string(s.State.State), Since: rounded(now.Sub(s.State.Since.Time)), Class: class(s.State, code),
		Code: s.State.Code, Message: s.State.Message, Action: code.Action, Decoder: s.State.Decoder,
		Plot: plot(totals.History, now),
		Figures: []figure{
			{"service lag", millis(t.Lag.Service)},
			{"producer lag", millis(t.Lag.Producer)},
			{"local lag", millis(t.Lag.Local)},
			{"frames a second", fmt.Sprintf("%.1f", t.FPS)},
			{"bit rate", fmt.Sprintf("%.1f Mbit/s", float64(t.BitrateBPS)/1e6)},
			{"fragments", fmt.Sprint(totals.Fragments)},
			{"frames shown", fmt.Sprintf("%d of %d", totals.Shown, totals.Received)},
		},
	}
	if totals.Hidden > 0 {
		v.Figures = append(v.Figures, figure{"while another stream was shown", fmt.Sprint(totals.Hidden)})
	}
	for _, why := range slices.Sorted(maps.Keys(totals.Dropped)) {
		if n := totals.Dropped[why]; n > 0 {
			v.Drops = append(v.Drops, figure{"not shown: " + why, fmt.Sprint(n)})
		}
	}
	for _, code := range slices.Sorted(maps.Keys(totals.Reconnects)) {
		v.Drops = append(v.Drops, figure{"reconnects: " + code, fmt.Sprint(totals.Reconnects[code])})
	}
	return v
}

// class is how a stream's state looks: fine, off, warning or error.
func class(s contract.State, code contract.Code) string {
	switch {
	case s.State == contract.Stopped:
		return "off"
	case s.State == contract.Playing && s.Code == "":
		return "fine"
	case s.State == contract.Failed || s.Code != "" && code.Severity == contract.SeverityError:
		return "error"
	}
	return "warning"
}

func newEventView(e contract.Event) eventView {
	code, _ := contract.Lookup(e.Code)
	return eventView{
		Time: e.LastTS.UTC().Format("01-02 15:04:05"), Severity: string(e.Severity), Code: e.Code, Stream: e.Stream, Message: e.Message,
		Meaning: code.Summary, Action: code.Action, Count: e.Count,
	}
}

func millis(d *contract.Distribution) string {
	if d == nil {
		return "not known"
	}
	return fmt.Sprintf("%d ms (95 %%: %d ms)", d.P50, d.P95)
}

// rounded writes how long something lasts in its two largest units.
func rounded(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", max(0, d/time.Second))
}
