package decode

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(fakeEnv) != "" {
		fakeChild()
		return
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}
