package elsewhere

import (
	"encoding/json"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

// asJSON writes a YAML document as the JSON that the Supervisor makes of it.
func asJSON(t *testing.T, document []byte, path string) {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal(document, &value); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
