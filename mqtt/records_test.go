package mqtt

import (
	"testing"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// No id that can still be valid is ever forgotten.
func TestRecordsOutliveTheirCommands(t *testing.T) {
	if contract.MostValid >= maxRecords {
		t.Errorf("%d commands can be valid at a time, %d are remembered", contract.MostValid, maxRecords)
	}
}
