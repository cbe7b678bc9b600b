package contract

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
)

// signed is a command with a signature, for brokers that others may publish on:
// MQTT 3.1.1 has no place for it beside the payload. The signature is over
//
//	<topic> 0x00 <the bytes that Command stands for>
//
// and not over the command alone: what was signed for one agent and verb must be
// of no use for another.
type signed struct {
	Schema    *Schema `json:"schema,omitempty"`
	Command   string  `json:"signed_command"` // the exact bytes of the command, base64
	Signature string  `json:"signature"`      // Ed25519, base64
}

func signedMessage(topic string, command []byte) []byte {
	return append([]byte(topic+"\x00"), command...)
}

// Sign signs a command.
func Sign(key ed25519.PrivateKey, topic string, command []byte) ([]byte, error) {
	encode := base64.StdEncoding.EncodeToString
	return json.Marshal(signed{Command: encode(command), Signature: encode(ed25519.Sign(key, signedMessage(topic, command)))})
}
