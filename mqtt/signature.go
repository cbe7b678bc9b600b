package mqtt

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// unwrap returns the command itself, with a refusal unless it is signed as it has to be.
func unwrap(keys []ed25519.PublicKey, m received) ([]byte, *refusal) {
	var s signed
	isSigned := json.Unmarshal(m.payload, &s) == nil && (s.Command != "" || s.Signature != "")
	switch {
	case !isSigned && len(keys) == 0:
		return m.payload, nil
	case !isSigned:
		return m.payload, refuse("control.signature", "it is not signed, as [control] public_keys asks for")
	}
	if err := decodeStrict(m.payload, &s); err != nil {
		return nil, refuse("control.malformed", "%v", err)
	}
	if s.Schema != nil && *s.Schema != 1 {
		return nil, refuse("control.malformed", "schema %d is not known, only 1 is", *s.Schema)
	}
	command, err1 := base64.StdEncoding.DecodeString(s.Command)
	signature, err2 := base64.StdEncoding.DecodeString(s.Signature)
	switch {
	case errors.Join(err1, err2) != nil:
		return nil, refuse("control.malformed", "signed_command or signature is not base64")
	case len(keys) == 0:
		return command, refuse("control.signature", "it is signed, but [control] public_keys is empty")
	}
	message := signedMessage(m.topic, command)
	if !slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, message, signature) }) {
		return command, refuse("control.signature", "none of [control] public_keys has made the signature for %s", m.topic)
	}
	return command, nil
}

func signedMessage(topic string, command []byte) []byte {
	return append([]byte(topic+"\x00"), command...)
}

// wrap signs a command.
func wrap(key ed25519.PrivateKey, topic string, command []byte) ([]byte, error) {
	encode := base64.StdEncoding.EncodeToString
	return json.Marshal(signed{Command: encode(command), Signature: encode(ed25519.Sign(key, signedMessage(topic, command)))})
}

// ParsePublicKey reads an Ed25519 key as `openssl pkey -pubout` writes it: the whole PEM
// text, or only the line between its first and last; or the 32 bytes as base64.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	der, err := keyBytes(text)
	if err != nil {
		return nil, fmt.Errorf("not a public key: %w", err)
	}
	if len(der) == ed25519.PublicKeySize {
		return ed25519.PublicKey(der), nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("not a public key as openssl writes it")
	}
	ed, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("an Ed25519 key is needed, this is a %T", key)
	}
	return ed, nil
}

// ParsePrivateKey reads an Ed25519 key in PEM, as `openssl genpkey -algorithm ed25519` writes it.
func ParsePrivateKey(text string) (ed25519.PrivateKey, error) {
	plain, err := withoutMark([]byte(text))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(plain)
	if block == nil {
		return nil, errors.New("not a private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a private key as openssl writes it")
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("an Ed25519 key is needed, this is a %T", key)
	}
	return ed, nil
}

func keyBytes(text string) ([]byte, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return block.Bytes, nil
	}
	return base64.StdEncoding.DecodeString(strings.TrimSpace(text))
}
