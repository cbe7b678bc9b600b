// Package contracttest has what tests of messages share: a command as JSON, a pair of keys, JSON Schema.
package contracttest

import (
	"bytes"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// T0 is when the command of Order is issued.
var T0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// CommandBase is the topic of a command of the agent gate-7, less its verb.
const CommandBase = "edge-agent/v1/gate-7/cmd/"

// Order is a command as JSON: id "a", issued at T0, to be done within a minute.
func Order(args string) string {
	return `{"schema":1,"id":"a","issued_at":"2026-03-01T12:00:00.000Z","expires_at":"2026-03-01T12:01:00.000Z","args":` + args + `}`
}

// A pair of keys as openssl wrote them, the public one only the line in the middle.
const (
	PrivateKey = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICNeF+caLWtuvgCfCPbcrxjByv0pzaMidsPAB5VoB/yT
-----END PRIVATE KEY-----
`
	PublicKey = "MCowBQYDK2VwAyEA0ydWbcDHIm3QUIoSmHXqo9Ps8qx494lQh9cq1uzwUX4="
)

// Schema is the JSON Schema in a file. It checks formats and encodings too.
func Schema(t *testing.T, path string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	schema, err := c.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// JSON is a text as Schema.Validate takes it.
func JSON(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}
