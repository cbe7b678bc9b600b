package secret

import (
	"testing"

	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
)

func TestKeysAreReadAsOpensslWritesThem(t *testing.T) {
	private, err := ParsePrivateKey(contracttest.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{contracttest.PublicKey, "-----BEGIN PUBLIC KEY-----\n" + contracttest.PublicKey + "\n-----END PUBLIC KEY-----\n", "0ydWbcDHIm3QUIoSmHXqo9Ps8qx494lQh9cq1uzwUX4="} {
		public, err := ParsePublicKey(text)
		if err != nil || !public.Equal(private.Public()) {
			t.Errorf("%s: %v, %v", text, public, err)
		}
	}
	for _, text := range []string{"", "key", "AAAA", contracttest.PrivateKey} {
		if key, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is taken for the public key %v", text, key)
		}
	}
	if _, err := ParsePrivateKey(contracttest.PublicKey); err == nil {
		t.Error("a public key is taken for a private one")
	}
}
