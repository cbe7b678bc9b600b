package decode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

const lastStatus = time.Second // for what a process has said before it ended: a busy box takes its time to read it

const lastWords = 250 * time.Millisecond // for the reason why a connection broke

// ChildFD is the descriptor at which a renderer finds its end of the socket pair.
const ChildFD = 3

// PreloadEnv, if set, tells a renderer that there are no devices, so that software is going to decode: it initialises
// GStreamer and loads the decoders' libraries before anything else (gst/preload.c), which is what takes longest at its
// start. Where there are devices, GStreamer has to be told first which of them are closed.
const PreloadEnv = "EDGE_AGENT_PRELOAD"

// killGrace is how long a process may take to go after it was killed. One that a driver holds in the kernel does not go
// at all.
const killGrace = 2 * time.Second

// child is a renderer process and the agent's end of its socket pair.
type child struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
	log  *os.File // what the child writes to standard error

	unconfined string // why it has the agent's own account and was to have another; "" when it has the right one

	started chan error
	exited  chan struct{} // closed when the process is gone and reaped

	heard    atomic.Bool   // somebody reads what the process says, until said is closed
	said     chan struct{} // closed when all that the process has said is read
	saidOnce sync.Once
	logged   chan struct{} // closed when all that it has logged is

	oomKills uint64    // of the kernel, before this process started
	weighed  time.Time // when overweight has looked

	life   sync.Mutex // of the process id, see whileThere
	reaped bool

	mu       sync.Mutex
	lastLine []byte
}

// launch is how renderer processes are started.
type launch struct {
	program *Program
	trial   bool // it shows nothing and ends soon, which ps is to show
	env     []string
	dev     string // default: /dev
	sandbox Sandbox
}

// startChild starts a process with one end of a new socket pair. The caller must
// run both keep and copyLog until they return, and stop the child.
func startChild(l launch) (*child, error) {
	start, program, err := l.program.open()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	logRead, logWrite, err := os.Pipe()
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer logWrite.Close()

	c := &child{conn: ours, log: logRead, started: make(chan error, 1), exited: make(chan struct{}), said: make(chan struct{}), logged: make(chan struct{}), oomKills: oomKills()}
	c.cmd = exec.Command(start, l.program.args...)
	c.cmd.Args[0] = program
	if l.trial {
		c.cmd.Args = append(c.cmd.Args, "trial")
	}
	c.cmd.Env = childEnvironment(os.Environ(), l.sandbox)
	c.cmd.Stderr = logWrite
	c.cmd.ExtraFiles = []*os.File{theirs}
	var who *account
	who, c.unconfined = l.sandbox.rendererAccount(needs(program, cmp.Or(l.dev, "/dev"), os.Getenv))
	bind(c.cmd, who)
	if who != nil {
		c.cmd.Env = append(c.cmd.Env, who.home(cacheRoot(os.Getenv))...)
	}
	c.cmd.Env = append(c.cmd.Env, l.env...)
	go c.keep()
	if err := <-c.started; err != nil {
		<-c.exited
		ours.Close()
		logRead.Close()
		return nil, err
	}
	c.whileThere(sacrifice)
	return c, nil
}

// keep starts the process and waits for its end on one thread: the kernel sends
// the parent-death signal when the thread that started the child ends, not the process.
func (c *child) keep() {
	defer close(c.exited)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	c.started <- err
	if err != nil {
		return
	}
	awaitEnd(c.cmd.Process.Pid)
	c.kill() // what it has started, which would outlive it
	c.life.Lock()
	c.reaped = true
	c.life.Unlock()
	_ = c.cmd.Wait() // ProcessState has all there is to know
}

// whileThere calls f with the id of the process, which is not reaped meanwhile. It does not when the process is reaped:
// the id may be that of another one by then.
func (c *child) whileThere(f func(pid int)) {
	c.life.Lock()
	defer c.life.Unlock()
	if !c.reaped {
		f(c.cmd.Process.Pid)
	}
}

// kill kills the process and everything it started.
func (c *child) kill() {
	c.whileThere(killGroup)
}

// atWork tells whether a thread of the process computes; see the function of this name.
func (c *child) atWork() (yes bool) {
	c.whileThere(func(pid int) { yes = atWork(pid) })
	return yes
}

// effort is what the process has done so far; see the function of this name.
func (c *child) effort() (computed time.Duration, faults uint64, runs bool) {
	c.whileThere(func(pid int) { computed, faults, runs = effort(pid) })
	return computed, faults, runs
}

// stop ends the process and returns when it is gone: after grace at the latest
// by force, with everything it started. A process that cannot be killed is left behind; keep waits for it.
func (c *child) stop(grace time.Duration) {
	if grace > 0 {
		_ = c.conn.CloseWrite() // end of file is the request to end
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.exited:
		case <-timer.C:
		}
	}
	c.kill()
	timer := time.NewTimer(killGrace)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
	}
	if c.heard.Load() { // its last statuses say which frames were shown
		await(context.Background(), c.said, lastStatus)
	}
	_ = c.conn.Close()
	_ = c.log.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // whoever left the process group may hold it open
}

// saidAll notes that all that the process has said is read.
func (c *child) saidAll() { c.saidOnce.Do(func() { close(c.said) }) }

// ending waits for the end of the process and says how it came. What the process itself said last is a better reason,
// and ends the context.
func (c *child) ending(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.exited:
	}
	await(ctx, c.said, lastStatus)
	await(ctx, c.logged, lastWords/2) // before broken gives up: what the process has started may hold its log open
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	detail := map[string]any{}
	how := "exited"
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		detail["signal"] = status.Signal().String()
		how = fmt.Sprintf("was killed by signal %d (%v)", status.Signal(), status.Signal())
	} else {
		detail["exit_status"] = status.ExitStatus()
		how = fmt.Sprintf("%s with status %d", how, status.ExitStatus())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lastLine) > 0 {
		detail["last_line"] = string(c.lastLine)
	}
	if f := lacksLibrary(string(c.lastLine)); f != nil && status.Exited() {
		return f
	}
	if status.Signal() == syscall.SIGKILL && oomKills() > c.oomKills {
		return &failure{Report: report.Report{Code: report.CodeMemory, Message: "the kernel ended the renderer process because memory ran out", Detail: detail}}
	}
	return &failure{Report: report.Report{Code: report.CodeCrash, Message: "the renderer process " + how, Detail: detail}}
}

// await waits for a channel to be closed, at most that long.
func await(ctx context.Context, closed <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-closed:
	case <-timer.C:
	}
}

// weighEvery is how often the memory of a process is looked at: the kernel adds up the figures of all its CPUs for
// that.
const weighEvery = time.Second

// overweight is the failure of a process that takes more than so many bytes of memory. It looks every weighEvery, and
// is called by one goroutine.
func (c *child) overweight(most uint64, now time.Time) error {
	if now.Sub(c.weighed) < weighEvery {
		return nil
	}
	c.weighed = now
	has := uint64(0)
	c.whileThere(func(pid int) { has = residentMemory(pid) })
	if has > most {
		f := failed(report.CodeMemory, "the renderer process took %d MiB of memory; %d are allowed", has>>20, most>>20)
		f.setDetail("memory_bytes", has)
		return f
	}
	return nil
}

// examine adds to the failure of a process that hangs what it does.
func (c *child) examine(err error) error {
	var f *failure
	if errors.As(err, &f) && f.Code == report.CodeHang {
		state := "gone"
		c.whileThere(func(pid int) { state = processState(pid) })
		f.Message += "; it is " + state
		f.setDetail("process_state", state)
	}
	return err
}

// broken waits for a better reason than a write that failed: the end of the
// process or an error it reported.
func broken(ctx context.Context, err error) error {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return failed(report.CodeCrash, "the renderer process closed its connection: %v", err)
	}
}
