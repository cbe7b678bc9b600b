// Command edge-agent-renderer decodes and shows what edge-agent sends it over file descriptor 3. The agent starts it; it is
// the only program here that is linked with GStreamer.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/edge-agent/edge-agent/gst"
)

func main() {
	if err := gst.Main(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "edge-agent-renderer:", err)
		os.Exit(1)
	}
}
