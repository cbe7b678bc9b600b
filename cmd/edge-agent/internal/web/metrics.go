package web

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// newRegistry gives the figures of an agent to Prometheus. Nothing is counted here: they are read when they are asked
// for.
func newRegistry(source Source) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{source}, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return r
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("edge_agent_"+name, help, labels, nil)
}

// The metrics. Labels have few values: streams are those of the configuration, reasons and codes stand in tables.
var (
	buildInfo = describe("build_info", "The build that runs; always 1.", "version", "commit", "goversion", "gstreamer")
	started   = describe("start_time_seconds", "When the agent started, in Unix time.")
	events    = describe("events_total", "What was reported, by code.", "code")

	streamState   = describe("stream_state", "1 for the state that the stream is in, 0 for the others.", "stream", "state")
	streamProblem = describe("stream_problem", "1 while something is wrong with the stream, by the code that says what; absent when all is well.", "stream", "code")
	streamShown   = describe("stream_shown", "1 for the stream on the display.", "stream")
	lag           = describe("lag_seconds", "How far behind the stream is, in the newest interval: service, producer, or local (from reception to the screen).", "stream", "kind", "stat")
	fragments     = describe("fragments_total", "Fragments received.", "stream")
	received      = describe("received_bytes_total", "Bytes of media received, of all tracks.", "stream")
	frames        = describe("frames_total", "Frames received, of the video track in use.", "stream")
	framesShown   = describe("frames_shown_total", "Frames whose picture was on the screen.", "stream")
	framesHidden  = describe("frames_hidden_total", "Frames received while another stream was on the display.", "stream")
	framesDropped = describe("frames_dropped_total", "Frames that were not shown, by reason.", "stream", "reason")
	framesQueued  = describe("frames_queued", "Frames on their way to the screen.", "stream")
	reconnects    = describe("reconnects_total", "Attempts to connect again, by the code of what came before.", "stream", "code")

	decoderInfo = describe("decoder_info", "A decoder that was found; always 1. result is that of trying it out.", "decoder", "codec", "kind", "device", "driver", "result")
	decoderUsed = describe("decoder_in_use", "1 for the decoder that makes the stream's pictures.", "stream", "decoder")
	displayInfo = describe("display_info", "A display that is used; always 1.", "connector", "sink", "width", "height")
	restarts    = describe("renderer_restarts_total", "Renderer processes that ended.")

	connected        = describe("mqtt_connected", "1 while the agent is connected to its broker.")
	published        = describe("mqtt_published_total", "Messages that the broker has got.")
	queuedEvents     = describe("mqtt_queued_events", "Events that wait to be confirmed by the broker.")
	droppedEvents    = describe("mqtt_dropped_events_total", "Events that were dropped because too many waited.")
	droppedTelemetry = describe("mqtt_dropped_telemetry_total", "Telemetry messages that were dropped because a newer one came first.")
)

type collector struct{ source Source }

// Describe describes nothing: what there is depends on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.source.Status()
	p := put{out}
	p.gauge(buildInfo, 1, s.Info.Version, s.Info.Commit, runtime.Version(), s.Info.GStreamer)
	p.gauge(started, float64(s.Status.StartedAt.UnixMilli())/1000)
	for _, code := range slices.Sorted(maps.Keys(s.EventCounts)) {
		p.counter(events, float64(s.EventCounts[code]), code)
	}
	for _, stream := range s.Status.Streams {
		p.stream(stream, s.Status.Shown == stream.Name)
	}
	for _, t := range s.Totals {
		p.totals(t)
	}
	for _, d := range s.Info.Decoders {
		p.gauge(decoderInfo, 1, d.Name, d.Codec, d.Kind, d.Device, d.Driver, d.Result)
	}
	for _, d := range s.Info.Displays {
		p.gauge(displayInfo, 1, d.Connector, d.Sink, strconv.Itoa(d.Width), strconv.Itoa(d.Height))
	}
	p.counter(restarts, float64(s.Restart))
	if s.Broker.URL == "" {
		return
	}
	p.gauge(connected, truth(s.Broker.Connected))
	p.counter(published, float64(s.Broker.Published))
	p.gauge(queuedEvents, float64(s.Status.MQTT.QueuedEvents))
	p.counter(droppedEvents, float64(s.Status.MQTT.DroppedEvents))
	p.counter(droppedTelemetry, float64(s.Status.MQTT.DroppedTelemetry))
}

// put hands metrics over.
type put struct{ out chan<- prometheus.Metric }

func (p put) gauge(d *prometheus.Desc, v float64, labels ...string) {
	p.metric(d, prometheus.GaugeValue, v, labels)
}

func (p put) counter(d *prometheus.Desc, v float64, labels ...string) {
	p.metric(d, prometheus.CounterValue, v, labels)
}

// metric puts one metric. Drivers and devices name themselves, in whatever bytes.
func (p put) metric(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?")
	}
	p.out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
}

func (p put) stream(s contract.StreamStatus, shown bool) {
	for _, state := range []contract.StreamState{contract.Starting, contract.Playing, contract.Stalled, contract.Backoff, contract.Stopped, contract.Failed} {
		p.gauge(streamState, truth(s.State.State == state), s.Name, string(state))
	}
	if s.State.Code != "" {
		p.gauge(streamProblem, 1, s.Name, s.State.Code)
	}
	p.gauge(streamShown, truth(shown), s.Name)
	if s.State.Decoder != "" {
		p.gauge(decoderUsed, 1, s.Name, s.State.Decoder)
	}
	l := s.Telemetry.Lag
	p.lag(s.Name, "service", l.Service)
	p.lag(s.Name, "producer", l.Producer)
	p.lag(s.Name, "local", l.Local)
}

// lag puts nothing where nothing is known.
func (p put) lag(stream, kind string, d *contract.Distribution) {
	if d == nil {
		return
	}
	for stat, v := range map[string]contract.Millis{"p50": d.P50, "p95": d.P95, "max": d.Max} {
		p.gauge(lag, (time.Duration(v) * time.Millisecond).Seconds(), stream, kind, stat)
	}
}

func (p put) totals(t Totals) {
	p.counter(fragments, float64(t.Fragments), t.Stream)
	p.counter(received, float64(t.Bytes), t.Stream)
	p.counter(frames, float64(t.Received), t.Stream)
	p.counter(framesShown, float64(t.Shown), t.Stream)
	p.counter(framesHidden, float64(t.Hidden), t.Stream)
	p.gauge(framesQueued, float64(t.Queued), t.Stream)
	for _, why := range slices.Sorted(maps.Keys(t.Dropped)) {
		p.counter(framesDropped, float64(t.Dropped[why]), t.Stream, why)
	}
	for _, code := range slices.Sorted(maps.Keys(t.Reconnects)) {
		p.counter(reconnects, float64(t.Reconnects[code]), t.Stream, code)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
