package sandbox

import "testing"

func TestTCPPort(t *testing.T) {
	for display, want := range map[string]uint16{
		":0": 0, ":1.0": 0, "unix:0": 0, "": 0, "host": 0, "/tmp/launch/x:0": 0, "host:": 0, ":": 0, "host:x": 0, "host:99999": 0,
		"host:0": 6000, "host:10.0": 6010, "192.0.2.1:2": 6002, "[::1]:3.0": 6003, "tcp/host:4": 6004,
	} {
		if got := tcpPort(display); got != want {
			t.Errorf("%q: %d, not %d", display, got, want)
		}
	}
}
