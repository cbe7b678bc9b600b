package ingest_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a service on a network in memory, and an agent's view of it. All of it lives
// in a synctest bubble, so that hours pass in moments.
type bench struct {
	server    *kvstest.Server
	stream    *kvstest.Stream
	service   *ingest.Service
	transport *http.Transport
}

func newBench(t testing.TB, config kvstest.Config, stream kvstest.StreamConfig) *bench {
	t.Helper()
	source, err := kvstest.ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	server := kvstest.NewServer(config)
	added, err := server.Add("cam", source, stream)
	if err != nil {
		t.Fatal(err)
	}
	pipe := kvstest.NewPipe()
	server.Serve(pipe)
	transport := &http.Transport{DialContext: pipe.DialContext, ResponseHeaderTimeout: 10 * time.Second}
	known := kvstest.Credentials()
	return &bench{
		server: server, stream: added, transport: transport,
		service: ingest.NewService(aws.Config{
			Region:      "us-east-1",
			Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: known}),
			HTTPClient:  &http.Client{Transport: transport},
		}, server.URL()),
	}
}

func (b *bench) close() {
	b.service.Close()
	b.server.Close()
}

// run runs a session for a time, as an agent that is started and stopped.
func (b *bench) run(d time.Duration, stream ingest.Stream, positions ingest.Positions, sink ingest.Sink) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	stream.Name = "cam"
	if stream.StreamARN == "" && stream.StreamName == "" {
		stream.StreamName = "cam"
	}
	ingest.NewSession(stream, b.service, positions, sink).Run(ctx)
}

// recorder is a Sink that keeps what it is told.
type recorder struct {
	fragments []mkv.Fragment
	frames    []frame
	reports   []ingest.Report
	onFrame   func()
}

type frame struct {
	fragment string
	made     time.Time
	key      bool
	gap      bool
	age      time.Duration // since it was received
	content  uint64        // identity of its bytes
	reports  int           // that had come before it
}

// contents makes identities of bytes.
var contents = maphash.MakeSeed()

func (r *recorder) Frame(_ context.Context, f *ingest.Frame) {
	r.frames = append(r.frames, frame{
		f.Fragment, f.Made, f.Key, f.Discontinuity, time.Since(f.Received), maphash.Bytes(contents, f.Data), len(r.reports),
	})
	if r.onFrame != nil {
		r.onFrame()
	}
}
func (r *recorder) Tracks([]*mkv.Track)     {}
func (r *recorder) Fragment(f mkv.Fragment) { r.fragments = append(r.fragments, f) }
func (r *recorder) Report(p ingest.Report)  { r.reports = append(r.reports, p) }

// codes are the reports' codes in order, without those that changed nothing but the state.
func (r *recorder) codes() []string {
	var out []string
	for _, p := range r.reports {
		if p.Code != "" {
			out = append(out, p.Code)
		}
	}
	return out
}

func (r *recorder) find(code string) *ingest.Report {
	for i := range r.reports {
		if r.reports[i].Code == code {
			return &r.reports[i]
		}
	}
	return nil
}

// of are the reports of a code.
func (r *recorder) of(code string) []ingest.Report {
	var out []ingest.Report
	for _, p := range r.reports {
		if p.Code == code {
			out = append(out, p)
		}
	}
	return out
}

// memory is a store of positions.
type memory map[string]ingest.Position

func (m memory) Load(stream string) (ingest.Position, error) { return m[stream], nil }
func (m memory) Save(stream string, p ingest.Position)       { m[stream] = p }

func TestPlaysAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
		defer b.close()
		var r recorder
		b.run(10*time.Second, ingest.Stream{}, nil, &r)
		if got, want := r.codes(), []string{ingest.CodePlaying}; !slices.Equal(got, want) {
			t.Errorf("reports %q, want %q", got, want)
		}
		if n := len(r.fragments); n < 8 {
			t.Errorf("%d fragments in 10 s of a stream with one each second", n)
		}
		states := []ingest.State{}
		for _, p := range r.reports {
			states = append(states, p.State)
		}
		if want := []ingest.State{ingest.Starting, ingest.Playing, ingest.Stopped}; !slices.Equal(states, want) {
			t.Errorf("states %q, want %q", states, want)
		}
		now := r.frames[0].made
		for i, f := range r.frames[1:] {
			if f.age != 0 { // the bubble's time stands still while somebody works
				t.Fatalf("frame %d was received %v before it came", i+1, f.age)
			}
			if step := f.made.Sub(now); step < 32*time.Millisecond || step > 35*time.Millisecond {
				t.Fatalf("frame %d was made %v after the one before", i+1, step)
			}
			now = f.made
		}
	})
}

// patient is a sink that never has room: it waits for each frame until the session is to end.
type patient struct {
	recorder
	taken int
}

func (p *patient) Frame(ctx context.Context, _ *ingest.Frame) {
	p.taken++
	<-ctx.Done()
}

// A session that is told to stop hands on nothing of what it has read already.
func TestStopsWhileTheSinkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{History: time.Minute})
		defer b.close()
		var p patient
		began := time.Now()
		b.run(10*time.Second, ingest.Stream{Start: ingest.Selector{Kind: ingest.Earliest}}, nil, &p)
		if took := time.Since(began); took != 10*time.Second || p.taken != 1 {
			t.Errorf("it stopped after %v and handed on %d frames", took, p.taken)
		}
	})
}

// The error table, row by row: what the service does, what is reported of it, and that
// the picture comes back without a fragment lost or doubled.
func TestErrorTable(t *testing.T) {
	type row struct {
		does   func(*kvstest.Stream)
		code   string
		state  ingest.State
		detail map[string]any // among others
	}
	rows := map[string]row{
		"cut":           {func(s *kvstest.Stream) { s.Cut() }, ingest.CodeCut, ingest.Backoff, nil},
		"closed":        {func(s *kvstest.Stream) { s.Inject(kvstest.Fault{Kind: kvstest.Drop}) }, ingest.CodeCut, ingest.Backoff, nil},
		"ended midway":  {func(s *kvstest.Stream) { s.End() }, ingest.CodeCut, ingest.Backoff, nil},
		"stall":         {func(s *kvstest.Stream) { s.Stall(0) }, ingest.CodeStall, ingest.Backoff, nil},
		"call limit":    {refuse(kvstest.ClientLimitExceeded), "kvs.http.ClientLimitExceededException", ingest.Backoff, map[string]any{"status": 400}},
		"connections":   {refuse(kvstest.ConnectionLimitExceeded), "kvs.http.ConnectionLimitExceededException", ingest.Backoff, nil},
		"endpoint":      {refuse(kvstest.InvalidEndpoint), "kvs.http.InvalidEndpointException", ingest.Backoff, nil},
		"authorisation": {refuse(kvstest.NotAuthorized), "kvs.http.NotAuthorizedException", ingest.Backoff, map[string]any{"status": 401}},
		"denied":        {refuse(kvstest.AccessDenied), "kvs.http.AccessDeniedException", ingest.Backoff, map[string]any{"status": 403}},
		"expired":       {refuse(kvstest.ExpiredToken), "kvs.http.ExpiredTokenException", ingest.Backoff, nil},
		"not found":     {refuse(kvstest.ResourceNotFound), "kvs.http.ResourceNotFoundException", ingest.Failed, map[string]any{"status": 404}},
		"internal":      {refuse(kvstest.InternalFailure), "kvs.http.InternalFailure", ingest.Backoff, map[string]any{"status": 500}},
		"unavailable":   {refuse(kvstest.ServiceUnavailable), "kvs.http.ServiceUnavailableException", ingest.Backoff, nil},
		"no status":     {func(s *kvstest.Stream) { s.HangMedia(1, 0); s.Cut() }, ingest.CodeUnreachable, ingest.Backoff, nil},
		"wrong place":   {func(s *kvstest.Stream) { s.Misdirect(1); refuse(kvstest.InvalidEndpoint)(s) }, "kvs.http.InvalidEndpointException", ingest.Backoff, nil},
		"stale token":   {func(s *kvstest.Stream) { s.Forget(); s.Cut() }, "kvs.http.InvalidArgumentException", ingest.Backoff, nil},
		"no endpoint":   {func(s *kvstest.Stream) { s.RefuseEndpoint(1, kvstest.AccessDenied); refuse(kvstest.InvalidEndpoint)(s) }, "kvs.http.AccessDeniedException", ingest.Backoff, nil},
	}
	for id := range maps.Keys(kvstest.ErrorCodes) {
		rows[fmt.Sprint("media ", id)] = row{
			func(s *kvstest.Stream) { s.Fail(id) }, fmt.Sprint("kvs.media.", id), ingest.Backoff,
			map[string]any{"error_id": id, "error_code": kvstest.ErrorCodes[id]},
		}
	}
	rows["media, not listed"] = row{
		func(s *kvstest.Stream) {
			s.Inject(kvstest.Fault{Kind: kvstest.Fail, ID: 3000, Code: "NEW", Bare: true})
		},
		"kvs.media.3000", ingest.Backoff,
		map[string]any{"error_id": 3000, "error_code": "NEW"},
	}
	rows["media, without a number"] = row{
		func(s *kvstest.Stream) { s.Inject(kvstest.Fault{Kind: kvstest.Fail, Code: "ONLY_A_NAME", Bare: true}) },
		"kvs.media.0", ingest.Backoff,
		map[string]any{"error_code": "ONLY_A_NAME"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
				defer b.close()
				time.AfterFunc(5300*time.Millisecond, func() { row.does(b.stream) })
				var r recorder
				b.run(time.Minute, ingest.Stream{}, nil, &r)
				p := r.find(row.code)
				if p == nil {
					t.Fatalf("reports %q, none of them %s", r.codes(), row.code)
				}
				if p.State != row.state {
					t.Errorf("state %s, want %s", p.State, row.state)
				}
				for k, v := range row.detail {
					if p.Detail[k] != v {
						t.Errorf("detail %v, want %v = %v", p.Detail, k, v)
					}
				}
				if strings.HasPrefix(row.code, "kvs.") && p.Detail["request_id"] == nil {
					t.Error("no request id")
				}
				if r.find(ingest.CodeResumed) == nil {
					t.Errorf("reports %q: it never said that it goes on", r.codes())
				}
				checkWhole(t, &r)
			})
		})
	}
}

// refuse resets the open session and refuses the next call.
func refuse(e *kvstest.Exception) func(*kvstest.Stream) {
	return func(s *kvstest.Stream) {
		s.RefuseMedia(1, e)
		s.Cut()
	}
}

// checkWhole holds that every fragment from the first to the last came once, and every
// frame of it once and in order.
func checkWhole(t interface{ Errorf(string, ...any) }, r *recorder) {
	for i, f := range r.fragments[1:] {
		if before := r.fragments[i]; number(f) != number(before)+1 {
			t.Errorf("fragment %d follows %d", number(f), number(before))
		}
	}
	checkFrames(t, r)
}

func checkFrames(t interface{ Errorf(string, ...any) }, r *recorder) {
	for i, f := range r.frames[1:] {
		before := r.frames[i]
		if step := f.made.Sub(before.made); step < 30*time.Millisecond || step > 40*time.Millisecond {
			t.Errorf("a frame of %s, made at %v, follows one made at %v", f.fragment, f.made, before.made)
			return
		}
	}
}

// number counts fragments as the simulator does: one step is 2 to the power of 92.
func number(f mkv.Fragment) int64 {
	v, ok := new(big.Int).SetString(f.Number, 10)
	if !ok {
		panic("not a number: " + f.Number)
	}
	return v.Rsh(v, 92).And(v, big.NewInt(1<<40-1)).Int64()
}

// A planned end of a session is no news, and no fragment is lost by it.
func TestSessionLimitIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Session: 10 * time.Second}}, kvstest.StreamConfig{})
		defer b.close()
		var r recorder
		b.run(time.Minute, ingest.Stream{}, nil, &r)
		if got := r.codes(); !slices.Equal(got, []string{ingest.CodePlaying}) {
			t.Errorf("reports %q", got)
		}
		if n := len(r.fragments); n < 55 {
			t.Errorf("%d fragments in a minute", n)
		}
		checkWhole(t, &r)
	})
}

// A stream without a producer is said once, and its return too.
func TestIdleStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
		defer b.close()
		time.AfterFunc(5*time.Second, b.stream.Stop)
		time.AfterFunc(65*time.Second, b.stream.Produce)
		var r recorder
		b.run(80*time.Second, ingest.Stream{}, nil, &r)
		if got, want := r.codes(), []string{ingest.CodePlaying, ingest.CodeIdle, ingest.CodePlaying}; !slices.Equal(got, want) {
			t.Errorf("reports %q, want %q", got, want)
		}
		if r.find(ingest.CodeIdle).State != ingest.Stalled {
			t.Error("an idle stream is not shown as stalled")
		}
		for i, f := range r.fragments[1:] {
			if number(f) != number(r.fragments[i])+1 {
				t.Errorf("fragment %d follows %d", number(f), number(r.fragments[i]))
			}
		}
	})
}

// Over a restart, resume goes on behind the last whole fragment, also when the service no
// longer knows the token.
func TestResume(t *testing.T) {
	for name, forget := range map[string]func(*ingest.Position){
		"by token":           func(*ingest.Position) {},
		"by fragment number": func(p *ingest.Position) { p.Token = "gone" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
				defer b.close()
				positions := memory{}
				resume := ingest.Stream{Start: ingest.Selector{Kind: ingest.Resume}}
				var first, second recorder
				b.run(5500*time.Millisecond, resume, positions, &first)
				time.Sleep(20 * time.Second)
				p := positions["cam"]
				forget(&p)
				positions["cam"] = p
				b.run(10*time.Second, resume, positions, &second)
				last, next := first.fragments[len(first.fragments)-1], second.fragments[0]
				if number(next) != number(last)+1 {
					t.Errorf("stopped after fragment %d, resumed at %d", number(last), number(next))
				}
				checkWhole(t, &second)
			})
		})
	}
}

// When nothing that is known of the place is accepted, it goes on at the newest
// fragment and says once that there is a gap.
func TestResumeWhereNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{History: 30 * time.Second})
		defer b.close()
		var r recorder
		b.run(20*time.Second, ingest.Stream{Start: ingest.Selector{Kind: ingest.Resume}},
			memory{"cam": {Token: "gone", Fragment: "gone"}}, &r)
		const refused = "kvs.http.InvalidArgumentException"
		if got, want := r.codes(), []string{refused, refused, ingest.CodeGap, ingest.CodeResumed}; !slices.Equal(got, want) {
			t.Fatalf("reports %q, want %q", got, want)
		}
		gap := map[string]any{"after_fragment": "gone", "cause": refused}
		if p := r.find(ingest.CodeGap); !maps.Equal(p.Detail, gap) || p.State != ingest.Backoff {
			t.Errorf("%+v, want %v", p, gap)
		}
		want := []string{kvstest.Continuation, kvstest.FragmentNumber, kvstest.Now}
		if asked := b.selectors(); !slices.Equal(asked, want) {
			t.Errorf("it asks for %q, want %q", asked, want)
		}
		if first := number(r.fragments[0]); first != 31 || len(r.fragments) < 19 { // one a second, for 30 s before
			t.Errorf("%d fragments, the first is %d", len(r.fragments), first)
		}
		checkWhole(t, &r)
	})
}

// selectors are the types of selectors that GetMedia was called with.
func (b *bench) selectors() []string {
	var out []string
	for _, call := range b.server.Calls() {
		if call.Operation == "GetMedia" {
			out = append(out, call.Selector.Type)
		}
	}
	return out
}

// A selector that the user chose and the service refuses is not replaced by another.
func TestRefusedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
		defer b.close()
		var r recorder
		b.stream.RefuseMedia(100, &kvstest.Exception{Status: 400, Type: "InvalidArgumentException", Message: "no such fragment"})
		b.run(time.Minute, ingest.Stream{Start: ingest.Selector{Kind: ingest.AfterFragment, Value: "5"}}, nil, &r)
		p := r.find("kvs.http.InvalidArgumentException")
		if p == nil || p.State != ingest.Failed || len(r.frames) > 0 {
			t.Errorf("reports %q, %d frames", r.codes(), len(r.frames))
		}
	})
}

// Too far behind: it jumps once, and says over what; or stays, and says so once. An agent comes back after ten minutes
// over a slow network.
func TestMaxLag(t *testing.T) {
	for name, row := range map[string]struct {
		stay  bool
		codes []string
	}{
		"jump": {false, []string{ingest.CodePlaying, ingest.CodeLagHigh, ingest.CodeSkipped, ingest.CodeLagNormal}},
		"stay": {true, []string{ingest.CodePlaying, ingest.CodeLagHigh}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Bandwidth: 150e3}}, kvstest.StreamConfig{History: 10 * time.Minute})
				defer b.close()
				var before, r recorder
				positions := memory{}
				b.run(2*time.Second, ingest.Stream{Start: ingest.Selector{Kind: ingest.Earliest}}, positions, &before)
				calls := len(b.selectors())
				b.run(30*time.Second, ingest.Stream{
					Start: ingest.Selector{Kind: ingest.Resume}, MaxLag: 20 * time.Second, Stay: row.stay,
				}, positions, &r)
				if got := r.codes(); !slices.Equal(got, row.codes) {
					t.Fatalf("reports %q, want %q", got, row.codes)
				}
				asked, want := b.selectors()[calls:], []string{kvstest.Continuation}
				if !row.stay {
					want = append(want, kvstest.Now)
				}
				if !slices.Equal(asked, want) {
					t.Errorf("it asks for %q, want %q", asked, want)
				}
				if row.stay {
					checkWhole(t, &r)
					return
				}
				checkJump(t, &r)
			})
		})
	}
}

// checkJump holds one jump's report against the fragments around it, and the mark of missing frames against the first frame
// after it.
func checkJump(t *testing.T, r *recorder) {
	t.Helper()
	reached := r.find(ingest.CodeSkipped).Detail["to_fragment"]
	at := slices.IndexFunc(r.fragments[1:], func(f mkv.Fragment) bool { return f.Number == reached })
	if at < 0 {
		t.Fatalf("%+v names no fragment that came", r.find(ingest.CodeSkipped))
	}
	from, to := r.fragments[at], r.fragments[at+1]
	want := map[string]any{
		"from_fragment": from.Number, "to_fragment": to.Number, "skipped_ms": to.ProducerTime.Sub(from.ProducerTime).Milliseconds(),
	}
	if p := r.find(ingest.CodeSkipped); !maps.Equal(p.Detail, want) {
		t.Errorf("detail %v, want %v", p.Detail, want)
	}
	if n := number(to) - number(from); n < 500 || to.Behind > 10*time.Second {
		t.Errorf("a jump over %d fragments to one that is %v behind", n, to.Behind)
	}
	for i, f := range r.frames {
		if jumped := i > 0 && f.fragment == to.Number && r.frames[i-1].fragment == from.Number; f.gap != (i == 0 || jumped) {
			t.Errorf("frame %d, of %s, says %v that frames before it are missing", i, f.fragment, f.gap)
		}
	}
}

// To begin in the past is not to be late.
func TestStartInThePastIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Bandwidth: 150e3}}, kvstest.StreamConfig{History: 10 * time.Minute})
		defer b.close()
		var r recorder
		b.run(30*time.Second, ingest.Stream{Start: ingest.Selector{Kind: ingest.Earliest}, MaxLag: 20 * time.Second}, nil, &r)
		if got := r.codes(); !slices.Equal(got, []string{ingest.CodePlaying}) {
			t.Errorf("reports %q", got)
		}
	})
}

// A fragment that is broken on the way is left out and told; those around it come.
func TestBrokenFragmentIsLeftOut(t *testing.T) {
	garbage := kvstest.GarbageOf(5000)
	for name, fault := range map[string]kvstest.Fault{
		"at its start":                 {Data: garbage},
		"in its head":                  {At: 300, Data: garbage},
		"in its frames":                {At: 20_000, Data: garbage},
		"an element that claims 25 MB": {Data: []byte{0x4C, 0x40, 0x11, 0x86, 0xA0, 0x00}},
	} {
		fault.Kind, fault.Fragment = kvstest.Garbage, 3
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
				defer b.close()
				b.stream.Next(fault)
				var r recorder
				b.run(10*time.Second, ingest.Stream{}, nil, &r)
				p := r.find(ingest.CodeMalformed)
				if p == nil || p.Detail["cause"] == nil {
					t.Fatalf("reports %q: %+v", r.codes(), p)
				}
				missing := number(r.fragments[len(r.fragments)-1]) - number(r.fragments[0]) + 1 - int64(len(r.fragments))
				if missing > 1 || len(r.fragments) < 7 {
					t.Errorf("%d fragments came, %d are missing", len(r.fragments), missing)
				}
			})
		})
	}
}

// Any schedule of cuts, resets, stalls, session limits, errors, broken and repeated fragments, and restarts
// of the agent gives every fragment once, in order, or says what is missing.
func TestAnyScheduleGivesEveryFragmentOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := drawPlan(rt)
		synctest.Test(t, func(t *testing.T) { plan.check(t, rt) })
	})
}

// plan is what happens to a stream and its agent.
type plan struct {
	acts   []act
	limit  time.Duration // of a session
	layout kvstest.Layout
}

// act is one disturbance. The first kind is a restart of the agent.
type act struct {
	after time.Duration // the one before
	kind  int
	at    int64
}

func drawPlan(t *rapid.T) plan {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	return plan{
		acts: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
			return act{
				after: time.Duration(rapid.IntRange(1, 15_000).Draw(t, "after ms")) * time.Millisecond,
				kind:  rapid.IntRange(0, len(disturbances)).Draw(t, "kind"),
				at:    rapid.Int64Range(0, 400_000).Draw(t, "at"),
			}
		}), 1, 12).Draw(t, "acts"),
		limit: time.Duration(rapid.IntRange(3, 60).Draw(t, "session s")) * time.Second,
		layout: kvstest.Layout{
			Time:        kvstest.ClusterTime(rapid.IntRange(0, 2).Draw(t, "cluster time")),
			UnknownSize: flag("unknown size"), AnnexB: flag("Annex B"), BlockGroups: flag("block groups"),
			WideIntegers: flag("wide integers"), PaddedText: flag("padded text"), Noise: flag("noise"), Index: flag("index"),
			Position: flag("position"), SplitTags: flag("split tags"), ShuffledTags: flag("shuffled tags"),
		},
	}
}

// garbageKind is the kind of acts that put bytes into the body.
const garbageKind = 10

// disturbances are what can happen to a stream; at is a place in the body.
var disturbances = []func(s *kvstest.Stream, at int64){
	func(s *kvstest.Stream, _ int64) { s.Cut() },
	func(s *kvstest.Stream, _ int64) { s.End() },
	func(s *kvstest.Stream, at int64) {
		s.Next(kvstest.Fault{Kind: kvstest.Cut, At: at}, kvstest.Fault{Kind: kvstest.Drop, At: at / 2})
		s.Cut()
	},
	func(s *kvstest.Stream, at int64) { s.Stall(time.Duration(at) * time.Millisecond / 10) },
	func(s *kvstest.Stream, _ int64) { s.Fail(5000) },
	func(s *kvstest.Stream, _ int64) { s.RefuseMedia(2, kvstest.ServiceUnavailable); s.End() },
	func(s *kvstest.Stream, _ int64) { s.Fail(4501) },
	func(s *kvstest.Stream, at int64) {
		s.Next(kvstest.Fault{Kind: kvstest.End, At: at})
		s.Inject(kvstest.Fault{Kind: kvstest.Drop})
	},
	func(s *kvstest.Stream, _ int64) { s.Inject(kvstest.Fault{Kind: kvstest.Duplicate}) },
	func(s *kvstest.Stream, at int64) {
		s.Inject(kvstest.Fault{Kind: kvstest.Garbage, Data: kvstest.GarbageOf(int(at%5000) + 1)})
	},
	func(s *kvstest.Stream, at int64) {
		s.Inject(kvstest.Fault{Kind: kvstest.Slow, Rate: int(at) + 1000, For: 20 * time.Second})
	},
	func(s *kvstest.Stream, _ int64) { s.Forget(); s.Cut() },
}

// check carries the plan out and holds what comes against what was sent.
func (p plan) check(t *testing.T, rt *rapid.T) {
	b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Session: p.limit, Connections: 1}}, kvstest.StreamConfig{Layout: p.layout})
	defer b.close()
	var undisturbed recorder
	b.run(15*time.Second, ingest.Stream{}, nil, &undisturbed)
	next := successors(rt, &undisturbed)
	positions := memory{}
	all := recorder{}
	spoilt := 0 // frames that garbage may have come into
	for _, a := range p.acts {
		if a.kind == garbageKind {
			spoilt++
		}
	}
	for rest := p.acts; rest != nil; {
		var life recorder
		ctx, restart := context.WithCancel(t.Context())
		go func() {
			rest = disturb(b.stream, rest)
			restart()
		}()
		ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam", Start: ingest.Selector{Kind: ingest.Resume}},
			b.service, positions, &life).Run(ctx)
		spoilt -= mendSpoilt(&life, next)
		checkContents(rt, &life, next)
		all.fragments = append(all.fragments, life.fragments...)
		all.reports = append(all.reports, life.reports...)
	}
	for _, call := range b.server.Calls() {
		if strings.Contains(call.ErrorType, "LimitExceeded") {
			rt.Errorf("a call was too many: %+v", call)
		}
	}
	if spoilt < 0 {
		rt.Errorf("more frames have contents that nobody sent than garbage came into")
	}
	told := 0
	for _, code := range all.codes() {
		if code == ingest.CodeMalformed {
			told++
		}
		if code == ingest.CodeGap { // tokens are lost, and fragment numbers are not
			rt.Errorf("a gap; reports %q", all.codes())
		}
	}
	for i, f := range all.fragments[1:] {
		missing := number(f) - number(all.fragments[i]) - 1
		if told -= int(max(missing, 0)); missing < 0 || told < 0 {
			rt.Errorf("fragment %d follows %d; reports %q", number(f), number(all.fragments[i]), all.codes())
		}
	}
	if len(all.fragments) < 500 {
		rt.Errorf("%d fragments in more than ten minutes", len(all.fragments))
	}
}

// successors says of each frame's content what comes after it, as an undisturbed session shows it: the clip, over and over.
func successors(t interface{ Errorf(string, ...any) }, r *recorder) map[uint64]uint64 {
	next := map[uint64]uint64{}
	for i, f := range r.frames[1:] {
		before := r.frames[i].content
		if known, ok := next[before]; ok && known != f.content {
			t.Errorf("two frames of the clip are the same")
		}
		next[before] = f.content
	}
	if len(next) == len(r.frames)-1 {
		t.Errorf("the clip is longer than the undisturbed session")
	}
	return next
}

// mendSpoilt gives frames with contents that nobody sent those they should have, and says how many there were: few bytes in
// the middle of a frame cannot be noticed, for Matroska has no checksums here.
func mendSpoilt(r *recorder, next map[uint64]uint64) (spoilt int) {
	for i := 1; i < len(r.frames); i++ {
		if _, sent := next[r.frames[i].content]; !sent {
			r.frames[i].content = next[r.frames[i-1].content]
			spoilt++
		}
	}
	return spoilt
}

// checkContents holds that each frame is the one that comes after the one before, or says that frames are missing. It says so only
// where some are, or where something that could not be read has just been reported.
func checkContents(t interface{ Errorf(string, ...any) }, r *recorder, next map[uint64]uint64) {
	for i, f := range r.frames {
		if i == 0 {
			if !f.gap {
				t.Errorf("the first frame does not say that frames before it are missing")
			}
			continue
		}
		before := r.frames[i-1]
		step := f.made.Sub(before.made)
		follows := step > 30*time.Millisecond && step < 40*time.Millisecond && next[before.content] == f.content
		malformed := slices.ContainsFunc(r.reports[before.reports:f.reports],
			func(p ingest.Report) bool { return p.Code == ingest.CodeMalformed })
		if !follows && !f.gap || f.gap && follows && !malformed {
			t.Errorf("frame %d of %s, %v after the one before, follows %v, says that frames are missing %v, malformed %v",
				i, f.fragment, step, follows, f.gap, malformed)
			return
		}
	}
}

// disturb does what is to be done in one life of the agent, and gives the rest; nil after
// the last, when the slowest remedy has had time to come round.
func disturb(s *kvstest.Stream, acts []act) []act {
	for i, a := range acts {
		time.Sleep(a.after)
		if a.kind == 0 {
			return acts[i+1:]
		}
		disturbances[a.kind-1](s, a.at)
	}
	time.Sleep(10 * time.Minute)
	return nil
}
