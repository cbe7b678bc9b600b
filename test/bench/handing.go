package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode/system"
)

// handingContest looks at how long a frame takes from the network to the decoder, through two processes.
func (b *bench) handingContest() contest {
	h := &handing{b}
	compared := "From the return of the read that brought a frame's last byte, in the agent, to its being in the queue of appsrc, in the renderer, of a " +
		"live 1080p30 stream of about 5 Mbit/s, over " + b.window.String() + ". Both processes read CLOCK_MONOTONIC; the agent logs the figures at level debug. " +
		"The peer are two processes that hand over as many bytes as often through a socket pair and do nothing else: what the machine itself takes."
	return contest{
		name:  "handing",
		ours:  side{ours, h.agentRun},
		peers: []side{{socketPair, h.socketPair}},
		rows: []row{
			{name: "frame read to in appsrc, p50", figure: "p50", unit: "ms", peer: socketPair, most: 1, compared: compared},
			{name: "frame read to in appsrc, p99", figure: "p99", unit: "ms", peer: socketPair, most: 5, compared: "The same."},
		},
	}
}

type handing struct{ *bench }

func (h *handing) agentRun(ctx context.Context) (f figures, err error) {
	cmd, err := h.agentCommand(ctx, setup{service: h.service, log: "debug"})
	if err != nil {
		return nil, err
	}
	stderr := newTranscript(handoverText)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(end(cmd))) }()
	if _, err := stderr.first(ctx, time.Now()); err != nil {
		return nil, err
	}
	if err := pause(ctx, warmUp); err != nil {
		return nil, err
	}
	before := len(stderr.all())
	if err := pause(ctx, h.window); err != nil {
		return nil, err
	}
	took, err := handovers(stderr.all()[before:])
	if err != nil {
		return nil, err
	}
	return h.quantiles(took)
}

// What the agent logs of the frames since it did so last.
const handoverText = "frames reached the decoder"

var handover = regexp.MustCompile(handoverText + `" after="?\[([^\]]*)\]`)

// handovers are the times in an agent's log.
func handovers(log string) (took []time.Duration, err error) {
	for _, found := range handover.FindAllStringSubmatch(log, -1) {
		for _, text := range strings.Fields(found[1]) {
			d, err := time.ParseDuration(text)
			if err != nil {
				return nil, err
			}
			took = append(took, d)
		}
	}
	return took, nil
}

func (h *handing) quantiles(took []time.Duration) (figures, error) {
	if few := int(h.window.Seconds()*clipFPS) * 9 / 10; len(took) == 0 || len(took) < few && h.off < few {
		return nil, fmt.Errorf("%w: %d frames were handed over", errBusy, len(took))
	}
	slices.Sort(took)
	return figures{"p50": millis(took[len(took)/2]), "p99": millis(took[len(took)*99/100])}, nil
}

// socketPair is the peer, and receiveRole the process at its other end.
const (
	socketPair  = "socket pair"
	receiveRole = "receive"
)

// messageSize is that of a mean frame.
const messageSize = 5_000_000 / 8 / clipFPS

func (h *handing) socketPair(ctx context.Context) (f figures, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	_ = ours.Close() // conn has a descriptor of its own
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	cmd, err := role(ctx, receiveRole)
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	var out strings.Builder
	cmd.ExtraFiles, cmd.Stdout = []*os.File{theirs}, &out
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	err = h.send(ctx, conn)
	if err := errors.Join(err, conn.Close(), waitFor(cmd, stopTimeout)); err != nil {
		return nil, err
	}
	took, err := handovers(out.String())
	if err != nil {
		return nil, err
	}
	return h.quantiles(took)
}

// send sends messages at the pace of frames. Each begins with the time at which it was sent.
func (h *handing) send(ctx context.Context, conn io.Writer) error {
	ticker := time.NewTicker(time.Second / clipFPS)
	defer ticker.Stop()
	message := make([]byte, messageSize)
	for range max(1, int(h.window.Seconds()*clipFPS)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		binary.LittleEndian.PutUint64(message, uint64(system.Monotonic()))
		if _, err := conn.Write(message); err != nil {
			return err
		}
	}
	return nil
}

// receive takes the messages at descriptor 3 and says, as the agent's log does, how long each was on its way.
func receive(_ []string, _ io.Reader, out io.Writer) error {
	conn, err := net.FileConn(os.NewFile(3, "bench"))
	if err != nil {
		return err
	}
	defer conn.Close()
	var took []time.Duration
	message := make([]byte, messageSize)
	for {
		if _, err := io.ReadFull(conn, message); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		took = append(took, system.Monotonic()-time.Duration(binary.LittleEndian.Uint64(message)))
	}
	_, err = fmt.Fprintf(out, "%s\" after=%v\n", handoverText, took)
	return err
}
