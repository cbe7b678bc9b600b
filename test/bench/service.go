package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// streamName is the stream that is looked at, and region where it is.
const (
	streamName = "camera"
	region     = "us-east-1"
)

// otherStream is a stream with the same clip, which began about so much earlier.
const (
	otherStream = "other"
	otherAhead  = 5 * time.Second
)

// streamNumber is the name of one of the streams; number 0 is the one that most contests are about.
func streamNumber(i int) string {
	if i == 0 {
		return streamName
	}
	return fmt.Sprint(streamName, "-", i)
}

// layout is that of a producer whose timestamps run on from fragment to fragment. Were they to begin anew in
// each, matroskademux would drop all but the first frame of every document after the first.
var layout = kvstest.Layout{Time: kvstest.SessionTime}

// serveRole is the service alone: its CPU is not to be counted for anybody.
const serveRole = "serve"

// fault is a line that the service reads: what happens to the stream.
type fault string

const (
	faultCut    fault = "cut"    // all connections are reset at once
	faultRefuse fault = "refuse" // the same, and the next GetMedia call, which begins at a token, is refused
	faultLimit  fault = "limit"  // sessions end after the fragment, as at the end of their time
	fault4500   fault = "4500"   // sessions end after the fragment, by an error in the body
	fault5000   fault = "5000"
)

// atEndOfFragment says that a fault waits for it.
func (f fault) atEndOfFragment() bool { return f != faultCut && f != faultRefuse }

// happen lets a fault happen to a stream.
func (f fault) happen(s *kvstest.Stream) error {
	switch f {
	case faultCut:
		s.Cut()
	case faultRefuse:
		s.RefuseMedia(1, kvstest.InvalidArgument)
		s.Cut()
	case faultLimit:
		s.Inject(kvstest.Fault{Kind: kvstest.Limit})
	case fault4500:
		s.Fail(4500)
	case fault5000:
		s.Fail(5000)
	default:
		return fmt.Errorf("there is no fault %q", f)
	}
	return nil
}

// serve plays a clip as a live stream until in ends; the second argument is for how long it has been one. The first
// line it writes is its address. Every line that it reads is a fault of the stream.
func serve(args []string, in io.Reader, out io.Writer) error {
	history, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	server, err := newServer(args[0], kvstest.Config{}, kvstest.StreamConfig{Layout: layout, History: history})
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Fprintln(out, server.URL())
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := fault(lines.Text()).happen(server.Stream(streamName)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// newServer serves a clip on a free port.
func newServer(clip string, config kvstest.Config, stream kvstest.StreamConfig) (*kvstest.Server, error) {
	file, err := os.ReadFile(clip)
	if err != nil {
		return nil, err
	}
	source, err := kvstest.ReadSource(file)
	if err != nil {
		return nil, err
	}
	server := kvstest.NewServer(config)
	earlier := stream
	earlier.History += otherAhead
	if _, err := server.Add(otherStream, source, earlier); err != nil {
		return nil, err
	}
	for i := range manyStreams {
		if _, err := server.Add(streamNumber(i), source, stream); err != nil {
			return nil, err
		}
	}
	return server, server.Start("127.0.0.1:0")
}

// service is the process that serves.
type service struct {
	cmd *exec.Cmd
	in  io.WriteCloser // a line for each fault
	url string
}

func startService(ctx context.Context, clip string, history time.Duration) (*service, error) {
	cmd, err := role(ctx, serveRole, clip, history.String())
	if err != nil {
		return nil, err
	}
	s := &service{cmd: cmd}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, errors.New("the simulated service does not start")
	}
	s.url = strings.TrimSpace(address)
	return s, nil
}

// inject lets a fault happen to the stream.
func (s *service) inject(f fault) error {
	_, err := fmt.Fprintln(s.in, f)
	return err
}

func (s *service) stop() {
	_ = s.in.Close()
	_ = end(s.cmd)
}

// await returns when the newest fragment has come that far, for all to join the stream at the same place.
func (s *service) await(ctx context.Context, place time.Duration) error {
	body, err := getMedia(ctx, s.url, streamName, "NOW")
	if err != nil {
		return err
	}
	defer body.Close()
	began, err := serverTime(body)
	if err != nil {
		return err
	}
	return pause(ctx, (place-time.Since(began)%clipGOP+clipGOP)%clipGOP)
}

// serverTime is when the first fragment of a body began.
func serverTime(body io.Reader) (time.Time, error) {
	r := mkv.NewReader(body)
	for {
		event, err := r.Next()
		if err != nil {
			return time.Time{}, err
		}
		if tags, ok := event.(*mkv.Tags); ok && !tags.Fragment.ServerTime.IsZero() {
			return tags.Fragment.ServerTime, nil
		}
	}
}

// getMedia opens a stream at a selector (NOW, EARLIEST) for a peer, which cannot sign
// calls. The caller closes the body.
func getMedia(ctx context.Context, endpoint, stream, selector string) (io.ReadCloser, error) {
	payload := fmt.Appendf(nil, `{"StreamName":%q,"StartSelector":{"StartSelectorType":%q}}`, stream, selector)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/getMedia", bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	if err := v4.NewSigner().SignHTTP(ctx, kvstest.Credentials(), req, hex.EncodeToString(sum[:]), "kinesisvideo", region, time.Now()); err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("GetMedia: %s: %s", resp.Status, text)
	}
	return resp.Body, nil
}
