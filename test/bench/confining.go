package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// confiningContest looks at what the sandbox of the renderer costs: at its start, where it is made. A frame meets no
// more of it than the system calls that the renderer makes anyway, which the kernel looks up in the filter; see the CPU
// of the contest playing.
func (b *bench) confiningContest() contest {
	return contest{
		name: "confining",
		ours: side{ours, b.confine},
		rows: []row{{
			name: "what the renderer's sandbox adds to its start", figure: "cost", unit: "ms", most: 5,
			compared: fmt.Sprintf("From before the renderer is started until it says hello, with its sandbox and without, in turn; the difference of the medians of %d starts each.", b.starts),
		}},
	}
}

func (b *bench) confine(ctx context.Context) (figures, error) {
	var with, without []time.Duration
	for range max(1, b.starts) {
		for _, side := range []struct {
			took    *[]time.Duration
			sandbox string
		}{{&with, ""}, {&without, decode.SandboxOff}} {
			took, err := b.hello(ctx, decode.SandboxEnv+"="+side.sandbox)
			if err != nil {
				return nil, err
			}
			*side.took = append(*side.took, took)
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	return figures{"cost": millis(with[len(with)/2] - without[len(without)/2])}, nil
}

// hello starts a renderer, and gives the time until it has said hello.
func (b *bench) hello(ctx context.Context, env string) (took time.Duration, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	near, far := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(near)
	_ = near.Close() // conn has a descriptor of its own
	if err != nil {
		return 0, errors.Join(err, far.Close())
	}
	cmd := command(ctx, rendererBeside(b.agent))
	cmd.Env, cmd.ExtraFiles = append(cmd.Environ(), env), []*os.File{far}
	start := time.Now()
	err = cmd.Start()
	_ = far.Close()
	if err != nil {
		return 0, errors.Join(err, conn.Close())
	}
	defer func() { err = errors.Join(err, conn.Close(), waitFor(cmd, stopTimeout)) }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	m, err := decode.NewReader(conn, decode.FromRenderer).Next()
	took = time.Since(start)
	var said decode.Hello
	if err == nil {
		err = m.Decode(&said)
	}
	if err == nil && len(said.Unconfined) > 0 {
		err = fmt.Errorf("the kernel lacks some of the sandbox: %q", said.Unconfined)
	}
	return took, err
}
