package mqtt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

func testLink(t *testing.T, f *fakeBroker) *link {
	t.Helper()
	l, err := openLink(t.Context(), Broker{URL: "mqtt://localhost"}, f.dial, "client", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestARefusedSubscriptionIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour { return behaviour{noTopic: true} })
		defer f.close()
		l := testLink(t, f)
		defer l.close(true)
		var coded *contract.Error
		if err := l.subscribe(t.Context(), "a/#", contract.MaxCommand, nil); !errors.As(err, &coded) || coded.Code != "mqtt.refused" {
			t.Errorf("err = %v", err)
		}
	})
}

// However stuck paho is, publish and close come back soon, and no goroutine stays
// (the bubble would not end).
func TestAStuckLinkHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		l := testLink(t, f)
		close(f.deaf)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		for range 4 { // swallowed; blocked in the write; and then in paho's two channels
			if _, err := l.send(message{topic: "a", qos: 1}, func() {}); err == nil {
				l.confirm(ended, nil)
			}
		}
		l.close(false)
		if took := time.Since(began); took > handoverTimeout+2*goodbyeTimeout {
			t.Errorf("it took %s", took)
		}
	})
}
