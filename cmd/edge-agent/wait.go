package main

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// lookAtFile is how often it is looked whether the file has changed.
const lookAtFile = time.Second

// readAnyway is in which of these looks the file is read even if it has not changed.
const readAnyway = 10

// waits says whether to wait for a valid configuration instead of ending: as it was asked for, else whether a service
// manager has started this process. systemd sets INVOCATION_ID, also for what runs in a terminal of a desktop session.
func (c runCommand) waits(getenv func(string) string, terminal bool) bool {
	switch c.InvalidConfig {
	case "wait":
		return true
	case "exit":
		return false
	}
	return getenv("INVOCATION_ID") != "" && !terminal
}

// onTerminal says that somebody reads what this process says, or types into it.
func onTerminal() bool { return isTerminal(os.Stdin) || isTerminal(os.Stderr) }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// awaitValid waits until the file is valid, and shows and reports its faults meanwhile. The error is that of ctx.
func (c runCommand) awaitValid(ctx context.Context, faults config.Errors, hangup <-chan os.Signal, std stdio) (config.Config, error) {
	a, err := agent.Waiting(c.Config, faults, std.logger)
	if err != nil {
		return config.Config{}, err
	}
	defer a.Close()
	return a.Await(ctx, func(ctx context.Context) (config.Config, error) {
		return watchFile(ctx, c.Config, c.valid, faults, hangup, a.StillInvalid)
	})
}

// watchFile waits until the file is valid: it reads it when it has changed and then stayed the same for a moment, since
// it may still be being written, when somebody asks for that, and now and then, because a fault may be in the files of
// the AWS tools. invalid is told of faults that are not those known, and each time somebody has asked.
func watchFile(ctx context.Context, path string, valid func(context.Context) (config.Config, error), known config.Errors, hangup <-chan os.Signal, invalid func(config.Errors)) (config.Config, error) {
	ticker := time.NewTicker(lookAtFile)
	defer ticker.Stop()
	var read, before config.Stamp // the file may have changed since known was found out: it is read once more
	for looks := 1; ; looks++ {
		asked := false
		select {
		case <-ctx.Done():
			return config.Config{}, ctx.Err()
		case <-hangup:
			asked, read = true, config.StampOf(path)
		case <-ticker.C:
			now := config.StampOf(path)
			settled := now == before
			before = now
			if !settled || now == read && looks%readAnyway != 0 {
				continue
			}
			read = now
		}
		cfg, err := valid(ctx)
		if err == nil {
			return cfg, nil
		}
		if faults, ok := errors.AsType[config.Errors](err); ok && (asked || faults.Error() != known.Error()) {
			known = faults
			invalid(faults)
		}
	}
}
