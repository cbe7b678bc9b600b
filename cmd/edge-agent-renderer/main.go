// Command edge-agent-renderer decodes and shows what edge-agent sends it over file descriptor 3. The agent starts it;
// it is the only program here that is linked with GStreamer.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/gst"
)

func main() {
	if slices.Equal(os.Args[1:], []string{"--version"}) {
		fmt.Println(decode.RendererName, decode.Build)
		return
	}
	if err := gst.Main(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", decode.RendererName, err)
		os.Exit(1)
	}
}
