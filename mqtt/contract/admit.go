package contract

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// MaxCommand bounds the payload of a command, in bytes, its signature included.
	MaxCommand = 16 << 10
	// maxAhead is how far another clock may be before ours.
	maxAhead = 60 * time.Second
	// maxLifetime is the most between issued_at and expires_at. With the rate of
	// commands it bounds how many ids can still be valid, so that none of those is ever forgotten.
	maxLifetime = 10 * time.Minute
)

// Rate of commands: burst at once, then one every interval.
const (
	CommandInterval = 1 * time.Second
	CommandBurst    = 10
)

// MostValid is how many commands can be valid at a time.
const MostValid = CommandBurst + int((maxLifetime+maxAhead)/CommandInterval)

// Rules are what the configuration says about commands.
type Rules struct {
	Enabled bool
	Allowed map[Verb]bool
	Keys    []ed25519.PublicKey // not empty: every command has to be signed by one
}

// Received is a command as it arrived.
type Received struct {
	Topic    string
	Verb     string // last level of the topic
	Retained bool
	Size     int
	Payload  []byte // nil when it is too large
}

// Admit decides whether a command may be carried out. It is a pure function; what
// depends on earlier commands, their ids and their rate, is decided after it. The
// refusal is nil or says why not; the command then is what could be read of it.
func Admit(r Rules, m Received, now time.Time, clock Clock) (Command, *Refusal) {
	c := Command{Verb: Verb(m.Verb)}
	known, isVerb := verbs[c.Verb]
	switch {
	case m.Retained:
		return c, Refuse("control.retained", "it was retained: publish commands without the retain flag")
	case m.Size > MaxCommand:
		return c, Refuse("control.oversize", "it has more than %d bytes", MaxCommand)
	}
	text, no := unwrap(r.Keys, m)
	c.ID = readID(text)
	if no != nil {
		return c, no
	}
	var o Order
	if err := decodeStrict(text, &o); err != nil {
		return c, Refuse("control.malformed", "%v", err)
	}
	if err := o.check(); err != nil {
		return c, Refuse("control.malformed", "%v", err)
	}
	c.IssuedAt, c.ExpiresAt = o.IssuedAt.Time, o.ExpiresAt.Time
	switch {
	case !isVerb:
		return c, Refuse("control.unknown", "there is no verb %q", m.Verb)
	case !r.Enabled:
		return c, Refuse("control.disabled", "[control] enabled is false")
	case !r.Allowed[c.Verb]:
		return c, Refuse("control.not_allowed", "[control] allow does not name %s", c.Verb)
	}
	if no := admitTime(c, now); no != nil {
		return c, no
	}
	if known.disruptive && clock != ClockSynced {
		return c, Refuse("control.clock", "the clock of this box is %s, so that nobody can tell whether %s is still meant; if something else keeps it right, set [control] clock = \"system\"", clock, c.Verb)
	}
	var err error
	if c.Args, err = decodeArgs(c.Verb, o.Args); err != nil {
		return c, Refuse("control.malformed", "args: %v", err)
	}
	return c, nil
}

// unwrap returns the command itself, with a refusal unless it is signed as it has to be.
func unwrap(keys []ed25519.PublicKey, m Received) ([]byte, *Refusal) {
	var s signed
	isSigned := json.Unmarshal(m.Payload, &s) == nil && (s.Command != "" || s.Signature != "")
	switch {
	case !isSigned && len(keys) == 0:
		return m.Payload, nil
	case !isSigned:
		return m.Payload, Refuse("control.signature", "it is not signed, as [control] public_keys asks for")
	}
	if err := decodeStrict(m.Payload, &s); err != nil {
		return nil, Refuse("control.malformed", "%v", err)
	}
	if s.Schema != nil && *s.Schema != 1 {
		return nil, Refuse("control.malformed", "schema %d is not known, only 1 is", *s.Schema)
	}
	command, err1 := base64.StdEncoding.DecodeString(s.Command)
	signature, err2 := base64.StdEncoding.DecodeString(s.Signature)
	switch {
	case errors.Join(err1, err2) != nil:
		return nil, Refuse("control.malformed", "signed_command or signature is not base64")
	case len(keys) == 0:
		return command, Refuse("control.signature", "it is signed, but [control] public_keys is empty")
	}
	message := signedMessage(m.Topic, command)
	if !slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, message, signature) }) {
		return command, Refuse("control.signature", "none of [control] public_keys has made the signature for %s", m.Topic)
	}
	return command, nil
}

// readID finds the id of a command that may be faulty otherwise, so that the response
// finds its sender; "" when there is none.
func readID(text []byte) string {
	var o struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(text, &o) != nil || !idForm().MatchString(o.ID) {
		return ""
	}
	return o.ID
}

// admitTime checks when a command is meant to be carried out.
func admitTime(c Command, now time.Time) *Refusal {
	lifetime := c.ExpiresAt.Sub(c.IssuedAt)
	switch {
	case !now.Before(c.ExpiresAt):
		return Refuse("control.expired", "it expired %s ago by this box's clock", now.Sub(c.ExpiresAt).Round(time.Millisecond))
	case c.IssuedAt.Sub(now) > maxAhead:
		return Refuse("control.future", "it was issued %s ahead of this box's clock", c.IssuedAt.Sub(now).Round(time.Millisecond))
	case lifetime > maxLifetime:
		return Refuse("control.malformed", "it lives for %s, at most %s are allowed", lifetime, maxLifetime)
	}
	return nil
}

// Refusal says why a command is not carried out.
type Refusal struct{ Code, Reason string }

// Refuse makes a Refusal; what it quotes of the sender is cut.
func Refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: Cut(fmt.Sprintf(format, args...), maxReason)}
}

// maxReason bounds a reason, in bytes: it may quote what the sender wrote.
const maxReason = 300

// Cut shortens a text to so many bytes.
func Cut(text string, most int) string {
	const end = "…"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(end)], "") + end
}

// Bucket holds commands to their rate: a token bucket. The zero value is full.
type Bucket struct {
	spent time.Duration // what has been taken and did not come back yet
	at    time.Time
}

// Take tells whether one more command is within the rate.
func (b *Bucket) Take(now time.Time) bool {
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(0, b.spent-passed)
		b.at = now
	}
	if b.spent+CommandInterval > CommandBurst*CommandInterval {
		return false
	}
	b.spent += CommandInterval
	return true
}
