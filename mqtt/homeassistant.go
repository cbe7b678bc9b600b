package mqtt

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// HomeAssistant says where Home Assistant looks for devices. It is told of the agent and
// its streams by one retained message (device discovery), again whenever they change and
// whenever it starts. docs/home-assistant.md describes the entities.
type HomeAssistant struct {
	DiscoveryPrefix string // "" means DefaultDiscoveryPrefix
	BirthTopic      string // where it says "online" when it starts; "" means DefaultBirthTopic
}

// What Home Assistant uses unless configured otherwise.
const (
	DefaultDiscoveryPrefix = "homeassistant"
	DefaultBirthTopic      = "homeassistant/status"
)

// maxBirth bounds the payload of the birth message, in bytes. It is "online" or "offline".
const maxBirth = 64

// check finds what cannot work; nil is fine.
func (h *HomeAssistant) check() error {
	if h == nil {
		return nil
	}
	if err := contract.ValidTopic(cmp.Or(h.DiscoveryPrefix, DefaultDiscoveryPrefix)); err != nil {
		return contract.ConfigError("the discovery prefix %q of Home Assistant cannot be used: %w", h.DiscoveryPrefix, err)
	}
	if err := contract.ValidTopic(cmp.Or(h.BirthTopic, DefaultBirthTopic)); err != nil {
		return contract.ConfigError("the birth topic %q of Home Assistant cannot be used: %w", h.BirthTopic, err)
	}
	return nil
}

// home keeps the discovery message up to date with what the client was told. Safe for
// concurrent use.
type home struct {
	topic  string // of the message
	birth  string
	signed bool // commands have to be signed, which Home Assistant cannot

	mu      sync.Mutex
	known   bool // SetInfo was called
	version string
	allowed []string // verbs
	streams []string
	removed []string // streams that were there once
	payload []byte   // as last published
}

func newHome(config HomeAssistant, prefix, agentID string, signed bool) *home {
	return &home{
		topic:  cmp.Or(config.DiscoveryPrefix, DefaultDiscoveryPrefix) + "/device/" + deviceID(prefix, agentID) + "/config",
		birth:  cmp.Or(config.BirthTopic, DefaultBirthTopic),
		signed: signed,
	}
}

// deviceID names the agent among all devices of Home Assistant. Neither part holds a '_'.
func deviceID(prefix, agentID string) string { return prefix + "_" + agentID }

// setHome begins to tell Home Assistant, or takes back what an earlier run has told it
// elsewhere; told is the topic of that.
func (c *Client) setHome(told string) {
	topic := ""
	if c.config.HomeAssistant != nil {
		signed := c.config.Control != nil && len(c.config.Control.PublicKeys) > 0
		c.home = newHome(*c.config.HomeAssistant, c.config.Prefix, c.config.AgentID, signed)
		topic = c.home.topic
	}
	switch {
	case told == topic:
	case told == "":
		c.noteTold(topic)
	default:
		c.pending.clear(told, func() { c.noteTold(topic) })
	}
}

// noteTold remembers where Home Assistant was told, for a run that is to take it back.
func (c *Client) noteTold(topic string) { c.store.note(toldKey, topic) }

// tellInfo takes what of the agent's description Home Assistant is told.
func (c *Client) tellInfo(info contract.Info) {
	c.tell(func(h *home) { h.known, h.version, h.allowed = true, info.Version, info.Commands })
}

// tellStreams takes which streams there are, and which are gone.
func (c *Client) tellStreams(names, gone []string) {
	c.tell(func(h *home) {
		h.removed = slices.Concat(h.removed, h.streams, gone)
		h.streams = slices.Clone(names)
		slices.Sort(h.removed)
		h.removed = slices.DeleteFunc(slices.Compact(h.removed), func(n string) bool { return slices.Contains(names, n) })
	})
}

// tell publishes the discovery message if the change makes it another one.
func (c *Client) tell(change func(*home)) {
	h := c.home
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
	if !h.known {
		return
	}
	text, ok := c.marshal(h.topic, h.discovery(c.topics, deviceID(c.config.Prefix, c.config.AgentID), c.config.AgentID))
	if ok && !bytes.Equal(text, h.payload) {
		h.payload = text
		c.pending.set(h.topic, text)
		nudge(c.wake)
	}
}

// receiveBirth takes Home Assistant's message that it has started. It runs on paho's
// goroutine and must not block. A retained one is old: the connection has just said all.
func (c *Client) receiveBirth(_ paho.Client, m paho.Message) {
	if !m.Retained() && string(m.Payload()) == contract.Online {
		c.log.Debug("Home Assistant has started and is told again", "topic", c.home.topic)
		c.pending.again(c.home.topic)
		nudge(c.wake)
	}
}

// The discovery message, as Home Assistant documents it ("MQTT discovery").
type discovery struct {
	Device       haDevice               `json:"device"`
	Origin       haOrigin               `json:"origin"`
	Availability []haAvailability       `json:"availability"`
	QoS          int                    `json:"qos"`
	Components   map[string]haComponent `json:"components"`
}

type haDevice struct {
	Identifiers  []string `json:"identifiers"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"manufacturer"`
	Model        string   `json:"model"`
	SWVersion    string   `json:"sw_version"`
}

type haOrigin struct {
	Name       string `json:"name"`
	SWVersion  string `json:"sw_version"`
	SupportURL string `json:"support_url"`
}

type haAvailability struct {
	Topic         string `json:"topic"`
	ValueTemplate string `json:"value_template,omitempty"`
}

// haComponent is an entity. One with a Platform only removes the entity, if it was there.
type haComponent struct {
	Platform           string           `json:"platform"`
	UniqueID           string           `json:"unique_id,omitempty"`
	Name               string           `json:"name,omitempty"`
	EntityCategory     string           `json:"entity_category,omitempty"`
	DeviceClass        string           `json:"device_class,omitempty"`
	StateClass         string           `json:"state_class,omitempty"`
	Unit               string           `json:"unit_of_measurement,omitempty"`
	Precision          *int             `json:"suggested_display_precision,omitempty"`
	Icon               string           `json:"icon,omitempty"`
	Options            []string         `json:"options,omitempty"`
	StateTopic         string           `json:"state_topic,omitempty"`
	ValueTemplate      string           `json:"value_template,omitempty"`
	AttributesTopic    string           `json:"json_attributes_topic,omitempty"`
	AttributesTemplate string           `json:"json_attributes_template,omitempty"`
	CommandTopic       string           `json:"command_topic,omitempty"`
	CommandTemplate    string           `json:"command_template,omitempty"`
	PayloadPress       string           `json:"payload_press,omitempty"`
	ImageTopic         string           `json:"image_topic,omitempty"`
	ContentType        string           `json:"content_type,omitempty"`
	Availability       []haAvailability `json:"availability,omitempty"`
	AvailabilityMode   string           `json:"availability_mode,omitempty"`
}

// The templates are Jinja, which Home Assistant evaluates for every message it receives,
// in value_json, or sends, in value. One that gives None makes the state unknown.
const (
	stateTemplate      = `{{ value_json.state }}`
	attributesTemplate = `{{ {'since': value_json.since, 'code': value_json.code, 'message': value_json.message, 'attempt': value_json.attempt, 'decoder': value_json.decoder} | tojson }}`
	problemTemplate    = `{{ 'ON' if value_json.state in ['stalled', 'backoff', 'failed'] or (value_json.state == 'playing' and value_json.code) or value_json.code.startswith('display.') else 'OFF' }}`
	fpsTemplate        = `{{ value_json.fps }}`
	droppedTemplate    = `{{ value_json.dropped_frames }}`
	reasonsTemplate    = `{{ value_json.dropped_by | tojson }}`
	serviceTemplate    = `{{ value_json.lag.service_ms.p50 if value_json.lag.service_ms else none }}`
	producerTemplate   = `{{ value_json.lag.producer_ms.p50 if value_json.lag.producer_ms and value_json.clock == 'synced' else none }}`
	localTemplate      = `{{ value_json.lag.local_ms.p50 if value_json.lag.local_ms else none }}`
	shownTemplate      = `{{ value_json.shown or none }}`

	// commandTemplate makes a command of a stream's name. Home Assistant has no UUIDs: the
	// microsecond and a random number make the id. (Its sandbox has no larger range.)
	commandTemplate = `{% set t = utcnow() %}` +
		`{"id": "ha-{{ t.strftime('%Y%m%d%H%M%S%f') }}-{{ range(100000) | random }}", ` +
		`"issued_at": "{{ t.isoformat() }}", "expires_at": "{{ (t + timedelta(minutes=1)).isoformat() }}", ` +
		`"args": {"stream": "{{ value }}"}}`
)

// isShownTemplate says whether a stream, whose name needs no quoting, is on the display.
func isShownTemplate(stream string) string {
	return `{{ 'online' if value_json.shown == '` + stream + `' else 'offline' }}`
}

// discovery is the message. Every component that there could be is in it: those that are not to be
// are removed by it, also when Home Assistant has them from an earlier run. The caller holds h.mu.
func (h *home) discovery(t contract.Topics, id, name string) discovery {
	d := discovery{
		Device: haDevice{
			Identifiers: []string{id}, Name: name, Manufacturer: "edge-agent", Model: "Kinesis video gateway", SWVersion: h.version,
		},
		Origin:       haOrigin{Name: "edge-agent", SWVersion: h.version, SupportURL: "https://github.com/edge-agent/edge-agent"},
		Availability: []haAvailability{{Topic: t.Availability()}},
		QoS:          1,
		Components:   map[string]haComponent{"show": h.showSelect(t)},
	}
	for _, stream := range h.streams {
		maps.Copy(d.Components, h.streamEntities(t, stream))
	}
	for _, stream := range h.removed {
		for key, c := range h.streamEntities(t, stream) {
			d.Components[key] = haComponent{Platform: c.Platform}
		}
	}
	for key, c := range d.Components {
		if c.Name != "" {
			c.UniqueID = id + "_" + key
			d.Components[key] = c
		}
	}
	return d
}

// obeys tells whether Home Assistant may give a command.
func (h *home) obeys(v contract.Verb) bool { return !h.signed && slices.Contains(h.allowed, string(v)) }

// showSelect chooses the stream on the display.
func (h *home) showSelect(t contract.Topics) haComponent {
	if !h.obeys(contract.VerbShow) || len(h.streams) == 0 {
		return haComponent{Platform: "select"}
	}
	return haComponent{
		Platform: "select", Name: "Stream on display", Icon: "mdi:video-switch", Options: h.streams,
		StateTopic: t.Info(), ValueTemplate: shownTemplate,
		CommandTopic: t.Command(contract.VerbShow), CommandTemplate: commandTemplate,
	}
}

// streamEntities are those of one stream. Their keys begin with its name and a '_', which no name holds.
func (h *home) streamEntities(t contract.Topics, stream string) map[string]haComponent {
	lag := func(name, template string) haComponent {
		return haComponent{
			Platform: "sensor", Name: stream + " lag " + name, EntityCategory: "diagnostic",
			DeviceClass: "duration", StateClass: "measurement", Unit: "ms", Precision: new(int),
			StateTopic: t.Telemetry(stream), ValueTemplate: template,
		}
	}
	return map[string]haComponent{
		stream + "_state": {
			Platform: "sensor", Name: stream + " state", DeviceClass: "enum", Options: streamStates(),
			StateTopic: t.State(stream), ValueTemplate: stateTemplate,
			AttributesTopic: t.State(stream), AttributesTemplate: attributesTemplate,
		},
		stream + "_problem": {
			Platform: "binary_sensor", Name: stream + " problem", DeviceClass: "problem",
			StateTopic: t.State(stream), ValueTemplate: problemTemplate,
		},
		stream + "_fps": {
			Platform: "sensor", Name: stream + " frame rate", EntityCategory: "diagnostic", StateClass: "measurement",
			Unit: "fps", Icon: "mdi:filmstrip", StateTopic: t.Telemetry(stream), ValueTemplate: fpsTemplate,
		},
		stream + "_dropped": {
			Platform: "sensor", Name: stream + " dropped frames", EntityCategory: "diagnostic", StateClass: "measurement",
			Unit: "frames", Icon: "mdi:filmstrip-off", StateTopic: t.Telemetry(stream), ValueTemplate: droppedTemplate,
			AttributesTopic: t.Telemetry(stream), AttributesTemplate: reasonsTemplate,
		},
		stream + "_lag_service":  lag("behind service", serviceTemplate),
		stream + "_lag_producer": lag("behind camera", producerTemplate),
		stream + "_lag_local":    lag("on this box", localTemplate),
		stream + "_restart":      h.restartButton(t, stream),
		stream + "_snapshot":     h.snapshotButton(t, stream),
		stream + "_image":        h.snapshotImage(t, stream),
	}
}

func streamStates() []string {
	return []string{string(contract.Starting), string(contract.Playing), string(contract.Stalled), string(contract.Backoff), string(contract.Stopped), string(contract.Failed)}
}

func (h *home) restartButton(t contract.Topics, stream string) haComponent {
	if !h.obeys(contract.VerbRestart) {
		return haComponent{Platform: "button"}
	}
	return haComponent{
		Platform: "button", Name: stream + " restart", DeviceClass: "restart", EntityCategory: "config",
		CommandTopic: t.Command(contract.VerbRestart), CommandTemplate: commandTemplate, PayloadPress: stream,
	}
}

// snapshotButton can be pressed while the stream is on the display, as the command would fail otherwise.
func (h *home) snapshotButton(t contract.Topics, stream string) haComponent {
	if !h.obeys(contract.VerbSnapshot) {
		return haComponent{Platform: "button"}
	}
	return haComponent{
		Platform: "button", Name: stream + " take snapshot", Icon: "mdi:camera",
		CommandTopic: t.Command(contract.VerbSnapshot), CommandTemplate: commandTemplate, PayloadPress: stream,
		Availability:     []haAvailability{{Topic: t.Availability()}, {Topic: t.Info(), ValueTemplate: isShownTemplate(stream)}},
		AvailabilityMode: "all",
	}
}

// snapshotImage is the newest snapshot, whoever asked for it.
func (h *home) snapshotImage(t contract.Topics, stream string) haComponent {
	if !slices.Contains(h.allowed, string(contract.VerbSnapshot)) {
		return haComponent{Platform: "image"}
	}
	return haComponent{
		Platform: "image", Name: stream + " snapshot", ImageTopic: t.Snapshot(stream), ContentType: "image/jpeg",
	}
}
