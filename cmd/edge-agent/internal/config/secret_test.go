package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// addressKeys are the keys that hold an address, by how a table with one looks.
var addressKeys = map[string]string{
	"aws.endpoint":           "[aws]\nendpoint = %s",
	"aws.iot.endpoint":       "[aws.iot]\nendpoint = %s\nrole_alias = \"a\"\ncert_file = \"c\"\nkey_file = \"k\"",
	"mqtt.broker":            "[mqtt]\nbroker = %s",
	"mqtt.broker of AWS IoT": "[mqtt]\nprofile = \"aws-iot\"\nbroker = %s\ncert_file = \"c\"\nkey_file = \"k\"",
}

// A password in an address is refused in every key, and stands in no message: those of a reload are published.
func TestASecretInAnAddressIsNotPrinted(t *testing.T) {
	for name, table := range addressKeys {
		key, _, _ := strings.Cut(name, " ")
		for _, address := range []string{
			"https://user:canary@host", "mqtts://user:canary@host", "http://canary@host", "mqtt://:canary@127.0.0.1", "mqtts://user:canary%zz@host",
			"user:canary@host", "https://host/user:canary@x", "ftp://user:canary@host", "mqtts://user:canary@", "mqtts://user:ca nary@host", " https://user:canary@host",
		} {
			_, err := Parse("x.toml", fmt.Sprintf(table, fmt.Sprintf("%q", address)))
			if err == nil || !strings.Contains(err.Error(), key+" holds a user name or password") {
				t.Errorf("%s = %q: %v", name, address, err)
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "nary@")) {
				t.Errorf("%s = %q is printed: %v", name, address, err)
			}
		}
	}
}

// So is what a service would be told behind its address, such as a token.
func TestASecretBehindAnAddressIsNotPrinted(t *testing.T) {
	for name, table := range addressKeys {
		key, _, _ := strings.Cut(name, " ")
		for _, address := range []string{"https://host?token=canary", "mqtts://host/?token=canary", "mqtts://host#canary", "wss://host/mqtt?token=canary", "host?token=canary"} {
			_, err := Parse("x.toml", fmt.Sprintf(table, fmt.Sprintf("%q", address)))
			if err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s = %q: %v", name, address, err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s = %q is printed: %v", name, address, err)
			}
		}
	}
}

// A new key for an address has to be in the test above.
func TestEveryAddressKeyIsTested(t *testing.T) {
	var find func(path string, table reflect.Type)
	find = func(path string, table reflect.Type) {
		for i := range table.NumField() {
			field := table.Field(i)
			key := JoinKey(path, field.Tag.Get("toml"))
			if field.Type.Kind() == reflect.Struct {
				find(key, field.Type)
			} else if name := strings.ToLower(field.Name); addressKeys[key] == "" &&
				(name == "broker" || strings.Contains(name, "endpoint") || strings.Contains(name, "url") || strings.Contains(name, "proxy")) {
				t.Errorf("%s is not tested", key)
			}
		}
	}
	find("", reflect.TypeFor[Config]())
}
