package kvstest_test

import (
	"fmt"
	"log"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

func Example() {
	source, err := kvstest.ReadSource(clip.H264())
	if err != nil {
		log.Fatal(err)
	}
	server := kvstest.NewServer(kvstest.Config{})
	stream, err := server.Add("clock", source, kvstest.StreamConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	// A client calls server.URL(), signs with kvstest.Credentials(), and meets what it has to survive:
	stream.Next(kvstest.Fault{Kind: kvstest.Drop, At: 100_000})  // the next session breaks off after 100,000 bytes,
	stream.Next(kvstest.Fault{Kind: kvstest.Stall, Fragment: 3}) // the one after stops in front of its third fragment,
	stream.RefuseMedia(1, kvstest.ClientLimitExceeded)           // the next call is refused,
	stream.Fail(4500)                                            // and sessions that are open end with an error.

	fmt.Println(stream.Name(), stream.Sessions(), len(server.Calls()))
	// Output: clock 0 0
}
