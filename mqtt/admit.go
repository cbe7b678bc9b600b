package mqtt

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// maxCommand bounds the payload of a command, in bytes, its signature included.
	maxCommand = 16 << 10
	// maxAhead is how far another clock may be before ours.
	maxAhead = 60 * time.Second
	// maxLifetime is the most between issued_at and expires_at. With the rate of
	// commands it bounds how many ids can still be valid, so that none of those is ever forgotten.
	maxLifetime = 10 * time.Minute
)

// Rate of commands: burst at once, then one every interval.
const (
	commandInterval = 1 * time.Second
	commandBurst    = 10
)

// rules are what the configuration says about commands.
type rules struct {
	enabled bool
	allowed map[Verb]bool
	keys    []ed25519.PublicKey // not empty: every command has to be signed by one
}

// received is a command as it arrived.
type received struct {
	topic    string
	verb     string // last level of the topic
	retained bool
	size     int
	payload  []byte // nil when it is too large
}

// admit decides whether a command may be carried out. It is a pure function; what
// depends on earlier commands, their ids and their rate, is decided after it. The
// refusal is nil or says why not; the command then is what could be read of it.
func admit(r rules, m received, now time.Time, clock Clock) (Command, *refusal) {
	c := Command{Verb: Verb(m.verb)}
	known, isVerb := verbs[c.Verb]
	switch {
	case m.retained:
		return c, refuse("control.retained", "it was retained: publish commands without the retain flag")
	case m.size > maxCommand:
		return c, refuse("control.oversize", "it has more than %d bytes", maxCommand)
	}
	text, no := unwrap(r.keys, m)
	c.ID = readID(text)
	if no != nil {
		return c, no
	}
	var o order
	if err := decodeStrict(text, &o); err != nil {
		return c, refuse("control.malformed", "%v", err)
	}
	if err := o.check(); err != nil {
		return c, refuse("control.malformed", "%v", err)
	}
	c.IssuedAt, c.ExpiresAt = o.IssuedAt.Time, o.ExpiresAt.Time
	switch {
	case !isVerb:
		return c, refuse("control.unknown", "there is no verb %q", m.verb)
	case !r.enabled:
		return c, refuse("control.disabled", "[control] enabled is false")
	case !r.allowed[c.Verb]:
		return c, refuse("control.not_allowed", "[control] allow does not name %s", c.Verb)
	}
	if no := admitTime(c, now); no != nil {
		return c, no
	}
	if known.disruptive && clock != ClockSynced {
		return c, refuse("control.clock", "the clock of this box is %s, so that nobody can tell whether %s is still meant; if something else keeps it right, set [control] clock = \"system\"", clock, c.Verb)
	}
	var err error
	if c.Args, err = decodeArgs(c.Verb, o.Args); err != nil {
		return c, refuse("control.malformed", "args: %v", err)
	}
	return c, nil
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
func admitTime(c Command, now time.Time) *refusal {
	lifetime := c.ExpiresAt.Sub(c.IssuedAt)
	switch {
	case !now.Before(c.ExpiresAt):
		return refuse("control.expired", "it expired %s ago by this box's clock", now.Sub(c.ExpiresAt).Round(time.Millisecond))
	case c.IssuedAt.Sub(now) > maxAhead:
		return refuse("control.future", "it was issued %s ahead of this box's clock", c.IssuedAt.Sub(now).Round(time.Millisecond))
	case lifetime > maxLifetime:
		return refuse("control.malformed", "it lives for %s, at most %s are allowed", lifetime, maxLifetime)
	}
	return nil
}

// refusal says why a command is not carried out.
type refusal struct{ code, reason string }

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code: code, reason: cut(fmt.Sprintf(format, args...), maxReason)}
}

// maxReason bounds a reason, in bytes: it may quote what the sender wrote.
const maxReason = 300

// cut shortens a text to so many bytes.
func cut(text string, most int) string {
	const end = "…"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(end)], "") + end
}

// bucket holds commands to their rate: a token bucket. The zero value is full.
type bucket struct {
	spent time.Duration // what has been taken and did not come back yet
	at    time.Time
}

// take tells whether one more command is within the rate.
func (b *bucket) take(now time.Time) bool {
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(0, b.spent-passed)
		b.at = now
	}
	if b.spent+commandInterval > commandBurst*commandInterval {
		return false
	}
	b.spent += commandInterval
	return true
}
