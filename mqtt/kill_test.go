package mqtt

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The tests of this file run a client in a process of its own, which is this test
// binary, and kill it.

// What the child is to do; see runReporter.
const (
	childState = "MQTT_TEST_CHILD_STATE" // StateDir
	childFirst = "MQTT_TEST_CHILD_FIRST" // number of its first event
	childCount = "MQTT_TEST_CHILD_COUNT" // of its events
	childTmpfs = "MQTT_TEST_CHILD_TMPFS" // size of a disk to mount on StateDir first
	childLater = "MQTT_TEST_CHILD_LATER" // set: connect only when told so
)

// child is a running reporter.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bufio.Scanner
	said strings.Builder
}

func startReporter(t *testing.T, url, dir string, first, count int) *child {
	t.Helper()
	c := newReporter(t, url, dir, first, count)
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func newReporter(t *testing.T, url, dir string, first, count int, more ...string) *child {
	c := &child{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childBroker+"="+url, childState+"="+dir, fmt.Sprint(childFirst, "=", first), fmt.Sprint(childCount, "=", count))
	c.cmd.Env = append(c.cmd.Env, more...)
	c.cmd.Stderr = &c.said
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func (c *child) start() error {
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	c.out = bufio.NewScanner(out)
	return c.cmd.Start()
}

// reported reads how far the child has come, until it has reported that many events.
func (c *child) reported(upTo int) {
	c.t.Helper()
	for n := 0; n < upTo; n++ {
		if !c.out.Scan() {
			c.t.Fatalf("the child ended after %d events: %s", n, c.said.String())
		}
	}
}

// kill kills the child and returns how many more events it had reported.
func (c *child) kill() (more int) {
	c.cmd.Process.Kill()
	for c.out.Scan() {
		more++
	}
	c.cmd.Wait() // "signal: killed"
	return more
}

// stop lets the child end by itself.
func (c *child) stop() {
	c.t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	for c.out.Scan() {
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("the child: %v\n%s", err, c.said.String())
	}
}

// runReporter is the child: it reports numbered events as fast as it can, writes a line for
// each, and goes on until SIGTERM.
func runReporter(url, dir string) error {
	if size := os.Getenv(childTmpfs); size != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
			return fmt.Errorf("cannot mount: %w", err)
		}
	}
	c, err := New(Config{Broker: Broker{URL: url}, AgentID: "gate-7", StateDir: dir})
	if err != nil {
		return err
	}
	if os.Getenv(childLater) != "" {
		gate := newGate(c)
		open := gate.shut()
		go func() { // ends with the process
			bufio.NewReader(os.Stdin).ReadString('\n')
			open()
		}()
	}
	first, err1 := strconv.Atoi(os.Getenv(childFirst))
	count, err2 := strconv.Atoi(os.Getenv(childCount))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	for i := range count {
		c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("e", first+i), Message: "an event of usual length, as they are when the network is down"})
		fmt.Println(first + i)
	}
	<-ended
	return nil
}

// account is what arrived of what was reported.
type account struct {
	arrived  map[string]bool  // streams of events
	dropped  map[string]int64 // by id of mqtt.dropped
	codes    map[string]int   // of events, by code: each once, however often it arrives
	lastSeq  uint64
	overtook int // events with a seq that had gone by, and not seen before
	ids      map[string]bool
}

func newAccount() *account {
	return &account{arrived: map[string]bool{}, dropped: map[string]int64{}, codes: map[string]int{}, ids: map[string]bool{}}
}

func (a *account) take(t *testing.T, m Message) {
	if !strings.HasSuffix(m.Topic, "/events") {
		return
	}
	var e contract.Event
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		t.Fatal(err)
	}
	if !a.ids[e.ID] && e.Seq > 0 {
		if e.Seq <= a.lastSeq {
			a.overtook++
		}
		a.lastSeq = max(a.lastSeq, e.Seq)
	}
	if !a.ids[e.ID] {
		a.codes[e.Code]++
	}
	a.ids[e.ID] = true
	if e.Code == "mqtt.dropped" {
		a.dropped[e.ID] = e.Count
	}
	a.arrived[e.Stream] = true
}

// missing are the reported events that did not arrive.
func (a *account) missing(reported []int) (missing int64) {
	for _, n := range reported {
		if !a.arrived[fmt.Sprint("e", n)] {
			missing++
		}
	}
	return missing
}

// said is how many events are said to be dropped.
func (a *account) said() (said int64) {
	for _, n := range a.dropped {
		said += n
	}
	return said
}

// tap takes all events of the agent, however fast they come, as a Listener would not.
type tap struct {
	t    *testing.T
	link *link

	mu    sync.Mutex
	all   []Message
	taken int
	more  chan struct{}
}

func newTap(t *testing.T, b Broker) *tap {
	t.Helper()
	l, err := openLink(t.Context(), b, (&net.Dialer{}).DialContext, "tap-"+uuid.NewString(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close(true) })
	tap := &tap{t: t, link: l, more: make(chan struct{}, 1)}
	if err := l.subscribe(t.Context(), contract.DefaultPrefix+"/v1/gate-7/events", maxAnswer, tap.receive); err != nil {
		t.Fatal(err)
	}
	return tap
}

func (p *tap) receive(_ paho.Client, m paho.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, Message{Topic: m.Topic(), Payload: m.Payload()})
	nudge(p.more)
}

// take returns what came since it was last called.
func (p *tap) take() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := p.all[p.taken:]
	p.taken = len(p.all)
	return fresh
}

// follow takes events until enough is true.
func (a *account) follow(p *tap, what string, enough func() bool) {
	p.t.Helper()
	late := time.After(patience)
	for {
		for _, m := range p.take() {
			a.take(p.t, m)
		}
		if enough() {
			return
		}
		select {
		case <-p.more:
		case <-late:
			p.t.Fatalf("%s did not come within %s; %d events arrived, said to be dropped: %v", what, patience, len(a.ids), a.dropped)
		}
	}
}

// catchUp takes all events that the broker has confirmed.
func (a *account) catchUp(p *tap) {
	p.t.Helper()
	mark := uuid.NewString()
	payload := []byte(`{"id":"` + mark + `","code":"mark"}`)
	if _, err := p.link.send(message{topic: contract.DefaultPrefix + "/v1/gate-7/events", qos: 1, payload: payload}, func() {}); err != nil {
		p.t.Fatal(err)
	}
	a.follow(p, "the mark", func() bool { return a.ids[mark] })
}

// seed makes the choices of a test that kills an agent; given again, they are the same. It does not say at which line of
// code the kill comes.
var seed = flag.Uint64("seed", 0, "seed of the tests that kill an agent; 0: another one each time")

func newRand(t *testing.T) *rand.Rand {
	n := *seed
	for n == 0 {
		n = rand.Uint64()
	}
	t.Logf("to make the same choices: -run %s -seed %d", t.Name(), n)
	return rand.New(rand.NewPCG(n, 0))
}

// The agent is killed at any point, with and without a broker: in the end every event has arrived
// or is counted as dropped, and no seq was given twice.
func TestEventsSurviveAnAgentThatIsKilled(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	rounds := 6
	if *long {
		rounds = 60
	}
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	in := newTap(t, broker)
	a, dir := newAccount(), t.TempDir()
	var reported []int
	for round := range rounds {
		away := random.IntN(3) == 0
		if away {
			a.catchUp(in) // what the broker has confirmed must not die with it
			b.Kill()
		}
		const count = 400
		first := (round + 1) * 10_000
		c := startReporter(t, b.URL(), dir, first, count)
		n, some := 1+random.IntN(count), random.IntN(count)
		c.reported(n)
		if !away {
			some = len(a.ids) + some%n
			a.follow(in, "some events", func() bool { return len(a.ids) >= some })
		}
		n += c.kill()
		for i := range n {
			reported = append(reported, first+i)
		}
		if away {
			restart(t, b)
			in = newTap(t, broker)
		}
	}
	last := startReporter(t, b.URL(), dir, 1, 1)
	last.reported(1)
	a.follow(in, "all events", func() bool { return a.missing(reported) <= a.said() })
	last.stop()
	a.catchUp(in)
	missing, said := a.missing(reported), a.said()
	t.Logf("%d reported, %d did not arrive, said to be dropped: %v", len(reported), missing, a.dropped)
	if missing > said {
		t.Errorf("%d of %d events did not arrive, %d are said to be dropped", missing, len(reported), said)
	}
	if a.overtook > 0 {
		t.Errorf("%d events have a seq that had gone by", a.overtook)
	}
}

// What an agent lost that was killed before it reached a broker is counted, and nothing else is.
func TestAKilledAgentCountsWhatItLost(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	rounds := 4
	if *long {
		rounds = 40
	}
	b := startBroker(t, brokertest.Options{})
	in := newTap(t, Broker{URL: b.URL()})
	a, dir := newAccount(), t.TempDir()
	var reported []int
	for round := range rounds {
		const count = 200
		first := (round + 1) * 10_000
		c := newReporter(t, b.URL(), dir, first, count, childLater+"=1")
		if _, err := c.cmd.StdinPipe(); err != nil { // at the end of its input it would connect
			t.Fatal(err)
		}
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
		n := 1 + random.IntN(count)
		c.reported(n)
		n += c.kill()
		for i := range n {
			reported = append(reported, first+i)
		}
	}
	last := startReporter(t, b.URL(), dir, 1, 1)
	last.reported(1)
	a.follow(in, "all events", func() bool { return a.arrived["e1"] && a.missing(reported) <= a.said() })
	last.stop()
	a.catchUp(in)
	missing, said := a.missing(reported), a.said()
	t.Logf("%d reported, %d did not arrive, said to be dropped: %v", len(reported), missing, a.dropped)
	// Of each killed agent one event may be counted that it had not yet written a line of.
	if said < missing || said > missing+int64(rounds) {
		t.Errorf("%d of %d events did not arrive, %d are said to be dropped", missing, len(reported), said)
	}
	if a.codes["mqtt.unreachable"] > 0 {
		t.Errorf("an agent tried to connect too early")
	}
}

// The disk is too small for what waits: that is said, and nothing is lost while the agent lives.
func TestEventsSurviveAFullDisk(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	dir := t.TempDir()
	b.Kill()
	const count = 3000
	c := newReporter(t, b.URL(), dir, 1, count, childTmpfs+"=200k", childLater+"=1")
	c.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	if os.Getuid() != 0 {
		c.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	goOn, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err != nil {
		t.Skipf("no mount of its own for the child: %v", err)
	}
	if !c.out.Scan() && strings.Contains(c.said.String(), "cannot mount") {
		c.kill()
		t.Skip(c.said.String())
	}
	c.reported(count - 1)
	restart(t, b)
	in := newTap(t, Broker{URL: b.URL()})
	fmt.Fprintln(goOn)
	var reported []int
	for i := range count {
		reported = append(reported, 1+i)
	}
	a := newAccount()
	a.follow(in, "all events", func() bool { return a.missing(reported) == 0 && a.codes["mqtt.storage"] > 0 })
	c.stop()
	if len(a.dropped) > 0 {
		t.Errorf("said to be dropped: %v", a.dropped)
	}
	if !strings.Contains(c.said.String(), "no space left on device") {
		t.Errorf("the child said:\n%s", c.said.String())
	}
}
