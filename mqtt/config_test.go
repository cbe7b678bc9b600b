package mqtt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		broker Broker
		id     string
		says   string
	}{
		{"no broker", Broker{}, "a", "is empty"},
		{"other scheme", Broker{URL: "http://localhost"}, "a", "must begin with mqtt:// or mqtts://"},
		{"no scheme", Broker{URL: "localhost:1883"}, "a", "must begin with"},
		{"no host", Broker{URL: "mqtt://:1883"}, "a", "must be mqtt://HOST"},
		{"path", Broker{URL: "mqtts://h/mqtt"}, "a", "must be mqtts://HOST"},
		{"not a URL", Broker{URL: "mqtt://h:canary"}, "a", "not a URL"},
		{"password in URL", Broker{URL: "mqtt://u:canary@localhost"}, "a", "password_file"},
		{"plaintext abroad", Broker{URL: "mqtt://192.0.2.1"}, "a", "allow_plaintext"},
		{"certificates unused", Broker{URL: "mqtt://localhost", CAFile: "ca.pem"}, "a", "use mqtts://"},
		{"certificate without key", Broker{URL: "mqtts://h", CertFile: "c.pem"}, "a", "together"},
		{"password without user", Broker{URL: "mqtts://h", PasswordFile: "p"}, "a", "username"},
		{"agent id", Broker{URL: "mqtts://h"}, "Gate 7", "agent id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Config{Broker: test.broker, AgentID: test.id})
			var coded *Error
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
