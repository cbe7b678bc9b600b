package decode

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
	"github.com/edge-agent/edge-agent/decode/report"
)

// Result is what came of trying a decoder.
type Result string

// An element that exists proves nothing: only one that passed has made pictures here.
const (
	Passed  Result = "passed"
	Failed  Result = "failed"
	Untried Result = "untried" // there was nothing to try it with
)

// Candidate is a decoder element for a codec, and how its trial ended.
type Candidate struct {
	Codec   format.Codec `json:"codec"`
	Family  plan.Family  `json:"family"`
	Element string       `json:"element"`
	Device  string       `json:"device"` // node, such as /dev/dri/renderD128; "" when the element does not say
	Driver  string       `json:"driver"` // kernel driver of the device; "" when not known
	Chip    string       `json:"chip"`   // PCI id of the device, such as 8086:46d0; "" when it has none

	Result   Result  `json:"result"`
	Pictures uint64  `json:"pictures"` // that came of the clip's frames
	FPS      float64 `json:"fps"`      // as fast as it goes, set-up included
	Code     string  `json:"code"`     // why it failed
	Error    string  `json:"error"`

	// Checksum is that of all pictures together; "" when they cannot be seen or compared. Decoding is
	// exact, so decoders that agree have the same.
	Checksum string `json:"checksum"`
	// Colorimetry says that the decoder worked only once a colorimetry was set.
	Colorimetry bool `json:"colorimetry"`
	// Down is how often in a row a trial did not come to its end, because the box went down in it or the power was cut.
	Down int `json:"down"`
}

// ProbeReport is what was found out about the decoders of this box.
type ProbeReport struct {
	GStreamer  string      `json:"gstreamer"`
	Kernel     string      `json:"kernel"`
	Chips      []string    `json:"chips"`          // of the device tree, or maker and model
	Time       time.Time   `json:"time"`           // of the newest trial
	Cards      []string    `json:"cards"`          // kernel drivers of graphics cards that have outputs
	Closed     []string    `json:"closed_devices"` // nodes that this user may not open: decoders behind them are missing
	Candidates []Candidate `json:"candidates"`
}

// candidate finds an element's entry; nil when it was not probed.
func (r *ProbeReport) candidate(element string, c format.Codec) *Candidate {
	i := slices.IndexFunc(r.Candidates, func(have Candidate) bool { return have.Element == element && have.Codec == c })
	if i < 0 {
		return nil
	}
	return &r.Candidates[i]
}

// Broken says that an element failed its trial.
func (r *ProbeReport) Broken(element string, c format.Codec) bool {
	have := r.candidate(element, c)
	return have != nil && have.Result == Failed
}

// Differs says that an element passed and yet its pictures are not those of the processor: decoding
// is exact, so something is wrong with it. Where as many pictures cannot be compared it says no.
func (r *ProbeReport) Differs(element string, c format.Codec) bool {
	have := r.candidate(element, c)
	if have == nil || have.Checksum == "" {
		return false
	}
	i := slices.IndexFunc(r.Candidates, func(other Candidate) bool {
		return other.Family == plan.Software && other.Codec == c && other.Checksum != "" && other.Pictures == have.Pictures
	})
	return i >= 0 && r.Candidates[i].Checksum != have.Checksum
}

// First gives the decoder that is taken first for a codec by what is known here; nil when there is none.
func (r *ProbeReport) First(c format.Codec, p plan.Preference) *Candidate {
	known := plan.Known{
		Broken: r.Broken, Differs: r.Differs, Unnegotiated: r.Unnegotiated, Device: r.device, Slower: r.Slower, Box: r.box(),
	}
	for _, have := range r.Candidates {
		if have.Codec == c {
			known.Found = append(known.Found, have.Element)
		}
	}
	plans := plan.Choose(format.Format{Codec: c}, plan.Display{Sink: plan.None}, p, known)
	if len(plans) == 0 {
		return nil
	}
	return r.candidate(plans[0].Element, c)
}

// Unnegotiated says that an element needs a colorimetry to be set.
func (r *ProbeReport) Unnegotiated(element string) bool {
	have := r.candidate(element, format.H264)
	return have != nil && have.Colorimetry
}

// trialLimit is how long one child of the probe may take: even a slow processor decodes the
// clips in less.
const trialLimit = 15 * time.Second

// ProbeConfig says how to probe. Zero values mean the defaults.
type ProbeConfig struct {
	Program *Program // of the children; default: the installed one
	Env     []string
	Sandbox Sandbox
	Prefer  plan.Preference
	Clips   []Clip        // one for each codec; without one its decoders are not tried
	Limit   time.Duration // for each trial
	Cache   string        // file that keeps results; "" keeps none
	Again   bool          // try again what the cache has
	Failed  bool          // try again of that what failed, as something passing may have been to blame
	Sys     fs.FS         // default: /sys
	Places  *Places       // of the renderer that decodes meanwhile; nil: there is none
	Log     *slog.Logger

	// Tried is told of each candidate as it is known.
	Tried func(Candidate)
}

func (c *ProbeConfig) setDefaults() {
	if c.Program == nil {
		c.Program = InstalledProgram()
	}
	if c.Limit == 0 {
		c.Limit = trialLimit
	}
	if c.Sys == nil {
		c.Sys = os.DirFS("/sys")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Tried == nil {
		c.Tried = func(Candidate) {}
	}
}

// Probe tries out every decoder for every codec, each in a child process of its own. What is
// in the cache is not tried again unless driver, device, kernel or GStreamer have changed.
// The report is valid as far as it goes when the error is that of the context; of other errors
// only those stop the probe that keep it from asking for the decoders at all.
func Probe(ctx context.Context, c ProbeConfig) (ProbeReport, error) {
	c.setDefaults()
	stage := &stage{launch: launch{program: c.Program, env: c.Env, sandbox: c.Sandbox}, limit: c.Limit, log: c.Log}
	hello, devices, err := stage.describe(ctx, false, func(found []string) []string {
		var names []string
		for _, d := range plan.Decoders(c.Prefer, found) {
			names = append(names, d.Element)
		}
		return names
	})
	if err != nil {
		return ProbeReport{}, asError(err)
	}
	stage.describeVA(ctx, plan.Decoders(c.Prefer, hello.Elements), devices.Nodes)
	report := ProbeReport{GStreamer: hello.GStreamer, Kernel: kernel(), Chips: readChips(c.Sys), Cards: cardDrivers(c.Sys), Closed: ClosedDevices()}
	old := c.readCache()
	if old.GStreamer != report.GStreamer || old.Kernel != report.Kernel {
		old = ProbeReport{}
	}
	report.Time = old.Time
	for _, d := range plan.Decoders(c.Prefer, hello.Elements) {
		node := devices.Nodes[d.Element]
		candidate := Candidate{Codec: d.Codec, Family: d.Family, Element: d.Element, Device: node, Driver: driverOf(c.Sys, node), Chip: chipOf(c.Sys, node), Result: Untried}
		have := old.candidate(d.Element, d.Codec)
		if have != nil && !have.sameHardware(candidate) {
			have = nil
		}
		if have != nil && !c.again(*have) {
			candidate = *have
		} else if i := slices.IndexFunc(c.Clips, func(clip Clip) bool { return clip.Format.Codec == d.Codec }); i >= 0 {
			if have != nil {
				candidate.Down = have.Down
			}
			c.writeCache(report.without(candidate, old))
			if leave, free := c.Places.take(plan.Plan{Family: d.Family, Element: d.Element, Device: plan.Device{Node: node}}, report.atOnce(candidate, c.Prefer)); free {
				candidate.try(ctx, stage, c.Clips[i], report.box(), c.Prefer.IgnoredQuirks)
				leave()
				report.Time = time.Now()
			} else if have != nil {
				candidate = *have
			} else {
				c.Log.Info("a decoder is not tried out while its device is in use", "element", d.Element, "device", node)
			}
		}
		if ctx.Err() != nil {
			c.writeCache(report.with(old.Candidates...))
			return report, ctx.Err()
		}
		report.Candidates = append(report.Candidates, candidate)
		c.Tried(candidate)
	}
	c.writeCache(report)
	return report, nil
}

// maxDown is how often a box may go down in the trial of a decoder. Once may have been a power cut.
const maxDown = 2

// again says that something is to be tried although there is a result.
func (c *ProbeConfig) again(have Candidate) bool {
	return c.Again || c.Failed && have.Result == Failed && have.Down < maxDown
}

// with adds what is known of further decoders.
func (r ProbeReport) with(more ...Candidate) ProbeReport {
	r.Candidates = slices.Clone(r.Candidates)
	for _, c := range more {
		if r.candidate(c.Element, c.Codec) == nil {
			r.Candidates = append(r.Candidates, c)
		}
	}
	return r
}

// without is what is to be found by the next start when the trial of a decoder takes the box down.
func (r ProbeReport) without(c Candidate, old ProbeReport) ProbeReport {
	c.Result, c.Code, c.Error = Failed, report.CodeDown, "the box went down while this decoder was tried out, or its power was cut"
	c.Down++
	return r.with(c).with(old.Candidates...)
}

// describeVA adds the device nodes of VA-API decoders, which know theirs only while they have it open. Drivers crash
// and hang in that, so each device is opened in a child of its own, and one that cannot be is left out.
func (s *stage) describeVA(ctx context.Context, all []plan.Decoder, nodes map[string]string) {
	of := map[string]string{} // by what the elements of a device begin with
	for _, d := range all {
		gpu := plan.Plan{Family: d.Family, Element: d.Element}.GPU()
		if gpu == "" || nodes[d.Element] != "" {
			continue
		}
		if _, asked := of[gpu]; !asked {
			_, opened, err := s.describe(ctx, true, func([]string) []string { return []string{d.Element} })
			if err != nil {
				s.log.Warn("the device of a decoder cannot be opened", "element", d.Element, "cause", err)
			}
			of[gpu] = opened.Nodes[d.Element]
		}
		if of[gpu] != "" {
			nodes[d.Element] = of[gpu]
		}
	}
}

// sameHardware says that the results of a trial are still true.
func (c *Candidate) sameHardware(now Candidate) bool {
	return c.Result != Untried && c.Family == now.Family && c.Device == now.Device && c.Driver == now.Driver && c.Chip == now.Chip
}

// try fills in what comes of a trial, or of two where a colorimetry may be missing.
func (c *Candidate) try(ctx context.Context, s *stage, clip Clip, box quirk.Box, ignored []string) {
	found := plan.Known{Found: []string{c.Element}, Box: box, Device: func(string) plan.Device {
		return plan.Device{Node: c.Device, Driver: c.Driver, Chip: c.Chip}
	}}
	only := plan.Preference{Order: []plan.Family{c.Family}, Vendor: []string{c.Element}, IgnoredQuirks: ignored}
	plans := plan.Choose(clip.Format, plan.Display{Sink: plan.None}, only, found)
	if len(plans) == 0 { // a known fault forbids it
		return
	}
	p := plans[0]
	t, err := s.try(ctx, p, clip.Units)
	var f *failure
	if errors.As(err, &f) && f.unnegotiated && plan.CanSetColorimetry(plan.Decoder{Element: c.Element, Family: c.Family, Codec: c.Codec}) {
		p.Colorimetry = true
		t, err = s.try(ctx, p, clip.Units)
	}
	if err == nil {
		err = t.verdict(len(clip.Units))
	}
	c.Result, c.Pictures, c.FPS = Passed, t.status.Decoded, t.fps()
	if !t.status.Opaque {
		c.Checksum = together(t.status.Checksums)
	}
	c.Colorimetry, c.Down = p.Colorimetry && err == nil, 0
	if err != nil {
		c.Result, c.Code, c.Error = Failed, report.CodeError, err.Error()
		if errors.As(err, &f) {
			c.Code = f.Code
		}
		c.FPS, c.Checksum = 0, ""
	}
}

// driverOf finds the kernel driver of a device node by way of sysfs, "" when it is not there.
func driverOf(sys fs.FS, node string) string {
	classes := map[string]string{"renderD": "drm", "card": "drm", "video": "video4linux"}
	name := path.Base(node)
	for prefix, class := range classes {
		if strings.HasPrefix(name, prefix) {
			link, err := fs.ReadLink(sys, "class/"+class+"/"+name+"/device/driver")
			if err == nil {
				return path.Base(link)
			}
		}
	}
	return ""
}

// kernel is the release of the kernel that runs.
func kernel() string {
	b, err := os.ReadFile("/proc/version") // Linux version 6.1.0-13-arm64 (...
	if words := strings.Fields(string(b)); err == nil && len(words) > 2 {
		return words[2]
	}
	return ""
}

// together is one checksum of many, "" when one of them is not known.
func together(sums []string) string {
	if len(sums) == 0 || slices.Contains(sums, "") {
		return ""
	}
	h := fnv.New64a()
	for _, sum := range sums {
		fmt.Fprintln(h, sum)
	}
	return fmt.Sprintf("%x", h.Sum64())
}

// asError gives a failure the form that callers of this package know.
func asError(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return &report.Error{Code: f.Code, Message: f.Message}
	}
	return err
}
