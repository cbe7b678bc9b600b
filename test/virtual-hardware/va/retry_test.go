//go:build hardware

package va

import "testing"

// When the driver works again, hardware is tried beside the picture once its time of denial, 30 s, is over, and takes over.
func TestHardwareIsTriedAgain(t *testing.T) {
	b := start(t, small(t, "libx265"), "vah265dec")
	breakDriver(t, "end 1 forever error")
	fallsBack(t, b, "vah265dec", "avdec_h265", wants{"decode.stale", nil})
	mend(t)
	back := b.Event("decode.recovered")
	wants{detail: map[string]any{"element": "vah265dec", "family": "va", "replaced_element": "avdec_h265"}}.check(t, back)
	b.Decoding("vah265dec")
	for _, e := range b.Events() {
		if e.Code == "decode.fallback" && e.Count > 1 || e.Code == "decode.stale" && e.Count > 1 {
			t.Errorf("it failed more than once: %+v", e)
		}
	}
}
