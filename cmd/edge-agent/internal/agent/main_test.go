package agent

import (
	"os"
	"slices"
	"testing"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestMain(m *testing.M) {
	if os.Getenv(beRenderer) != "" {
		fakeRenderer()
		return
	}
	ReadClock = func() ingest.Clock { return ingest.ClockSynced } // whoever runs the tests
	if !slices.Contains(os.Args, "-test.fuzzworker") {
		if err := kit.BuildRenderer(); err != nil {
			panic(err)
		}
	}
	cache, err := os.MkdirTemp("", "edge-agent-cache-") // for renderers, which are of another user where root runs the tests
	if err != nil {
		panic(err)
	}
	os.Setenv("CACHE_DIRECTORY", cache)
	_ = os.Chmod(cache, 0o755)
	status := m.Run()
	_ = os.RemoveAll(cache)
	os.Exit(status)
}
