package secret

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

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
