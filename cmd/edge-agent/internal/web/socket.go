package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
)

// socketMode lets the agent's user and its group ask.
const socketMode = 0o660

// dialTimeout is how long an agent on this machine may take to take a call.
const dialTimeout = 2 * time.Second

// ListenSocket makes the Unix socket at path. What a predecessor that died has left there is replaced; a socket that
// somebody answers, and what is no socket, are errors.
func ListenSocket(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and is no socket", path)
	default:
		switch c, err := net.DialTimeout("unix", path, dialTimeout); {
		case err == nil:
			_ = c.Close()
			return nil, fmt.Errorf("another edge-agent answers at %s", path)
		case !errors.Is(err, syscall.ECONNREFUSED): // which is what there is when nobody has it open
			return nil, fmt.Errorf("another program holds %s and does not answer: %v", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, socketMode)
}

// maxAnswer bounds what is read of an answer, in bytes: a status of 64 streams has some 200 KiB.
const maxAnswer = 16 << 20

// Ask asks the agent behind the socket at path how it stands: its Status, whose texts can be printed, and the same as
// the JSON that came.
func Ask(ctx context.Context, path string) (Status, json.RawMessage, error) {
	client := &http.Client{
		Timeout: answerTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				d := net.Dialer{Timeout: dialTimeout}
				return d.DialContext(ctx, "unix", path)
			},
			DisableKeepAlives: true,
		},
	}
	var s Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/status.json", nil)
	if err != nil {
		return s, nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return s, nil, askError(path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answered %s", answer.Status)
	}
	if err == nil {
		err = terminal.DecodePlain(text, &s)
	}
	return s, text, err
}

// askError says why nobody answered.
func askError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent runs that answers at %s", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not open %s; its group may", path)
	}
	return err
}
