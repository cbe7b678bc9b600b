package mqtt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		broker Broker
		id     string
		says   string
	}{
		{"no broker", Broker{}, "a", "is empty"},
		{"other scheme", Broker{URL: "http://localhost"}, "a", `= "http://localhost" has the unknown scheme "http"`},
		{"no scheme", Broker{URL: "localhost:1883"}, "a", "is no address of a broker"},
		{"no host", Broker{URL: "mqtt://:1883"}, "a", "is no address of a broker"},
		{"path", Broker{URL: "mqtts://h/mqtt"}, "a", "goes on after the host"},
		{"not a URL", Broker{URL: "mqtt://h:canary"}, "a", "is no address of a broker"},
		{"password in URL", Broker{URL: "mqtt://u:canary@localhost"}, "a", "password_file"},
		{"plaintext abroad", Broker{URL: "mqtt://192.0.2.1"}, "a", "allow_plaintext"},
		{"certificates unused", Broker{URL: "mqtt://localhost", CAFile: "ca.pem"}, "a", "Write mqtts://, or remove the files"},
		{"certificate without key", Broker{URL: "mqtts://h", CertFile: "c.pem"}, "a", "cert_file is set but key_file is not"},
		{"password without user", Broker{URL: "mqtts://h", PasswordFile: "p"}, "a", "username"},
		{"client id", Broker{URL: "mqtts://h", ClientID: "plant 7/gate"}, "a", "client_id"},
		{"long client id", Broker{URL: "mqtts://h", ClientID: strings.Repeat("x", 129)}, "a", "128"},
		{"agent id", Broker{URL: "mqtts://h"}, "Gate 7", "agent id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Config{Broker: test.broker, AgentID: test.id})
			var coded *contract.Error
			if !errors.As(err, &coded) || coded.Code != "mqtt.config" {
				t.Fatalf("err = %v", err)
			}
			if !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "canary") {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestConfigurationsThatCanWork(t *testing.T) {
	tests := map[string]struct {
		broker Broker
		addr   string
	}{
		"loopback":          {Broker{URL: "mqtt://localhost"}, "localhost:1883"},
		"loopback IPv6":     {Broker{URL: "mqtt://[::1]:1884"}, "[::1]:1884"},
		"plaintext allowed": {Broker{URL: "mqtt://192.0.2.1/", AllowPlaintext: true}, "192.0.2.1:1883"},
		"TLS":               {Broker{URL: "mqtts://broker.example"}, "broker.example:8883"},
	}
	for name, test := range tests {
		addr, err := test.broker.check()
		if err != nil || addr.String() != test.addr {
			t.Errorf("%s: %v, %v", name, addr, err)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	b := Broker{PasswordFile: path}
	if _, err := b.password(); err == nil {
		t.Error("a missing password file is no error")
	}
	if err := os.WriteFile(path, []byte(" pass word \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := b.password(); got != " pass word " || err != nil {
		t.Errorf("password = %q, %v", got, err)
	}
}

// Editors and shells of other systems put a byte order mark at the start of a file, use their own line ends, or save UTF-16.
func TestSecretFilesOfOtherSystems(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range map[string]string{
		"plain":                  "pass wörd",
		"byte order mark":        "\xEF\xBB\xBFpass wörd",
		"mark and CRLF":          "\xEF\xBB\xBFpass wörd\r\n",
		"a second line":          "pass wörd\r\nfor the broker\r\n",
		"UTF-16 little endian":   "\xFF\xFEp\x00a\x00s\x00s\x00 \x00w\x00\xF6\x00r\x00d\x00\r\x00\n\x00",
		"UTF-16 big endian":      "\xFE\xFF\x00p\x00a\x00s\x00s\x00 \x00w\x00\xF6\x00r\x00d",
		"a mark within the text": "pass wörd\n\xEF\xBB\xBF",
	} {
		if got, err := (Broker{PasswordFile: write(name, text)}).password(); got != "pass wörd" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := (Broker{PasswordFile: write("half", "\xFF\xFEp\x00a")}).password(); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("half a character: %v", err)
	}

	authority := newAuthority(t)
	cert, key, err := authority.WriteCert(dir, "gate-7")
	if err != nil {
		t.Fatal(err)
	}
	b := Broker{CAFile: writeCA(t, authority, dir), CertFile: cert, KeyFile: key}
	for _, file := range []string{b.CAFile, b.CertFile, b.KeyFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Base(file), "\xEF\xBB\xBF"+strings.ReplaceAll(string(text), "\n", "\r\n"))
	}
	if _, err := b.tlsConfig(address{host: "h", tls: true}); err != nil {
		t.Error(err)
	}
	if _, err := secret.ParsePrivateKey("\xEF\xBB\xBF" + contracttest.PrivateKey); err != nil {
		t.Error(err)
	}
}

func TestACredentialOfSystemd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "mqtt-password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"mqtt-password": "secret", filepath.Join(dir, "mqtt-password"): "secret"} {
		if got, err := (Broker{PasswordFile: file}).password(); got != want || err != nil {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if _, err := (Broker{PasswordFile: "./mqtt-password"}).password(); err == nil {
		t.Error("a path is taken for a credential")
	}
}
