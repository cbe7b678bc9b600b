package decode

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
)

// readChips says what a box is: what its device tree is compatible with, or maker and model where there is none.
func readChips(sys fs.FS) []string {
	if tree, err := fs.ReadFile(sys, "firmware/devicetree/base/compatible"); err == nil {
		return strings.FieldsFunc(string(tree), func(r rune) bool { return r == 0 })
	}
	var chips []string
	for _, name := range []string{"sys_vendor", "product_name", "board_name"} {
		text, err := fs.ReadFile(sys, "class/dmi/id/"+name)
		if text := strings.TrimSpace(string(text)); err == nil && text != "" {
			chips = append(chips, text)
		}
	}
	return chips
}

// chipOf is the PCI id of the device behind a node, "" when it is not on that bus.
func chipOf(sys fs.FS, node string) string {
	name := path.Base(node)
	var id []string
	for _, part := range []string{"vendor", "device"} {
		text, err := fs.ReadFile(sys, "class/drm/"+name+"/device/"+part)
		if err != nil {
			return ""
		}
		id = append(id, strings.TrimPrefix(strings.TrimSpace(string(text)), "0x"))
	}
	return strings.Join(id, ":")
}

// deviceAt is the hardware behind a node.
func deviceAt(sys fs.FS, node string) plan.Device {
	if node == "" {
		return plan.Device{}
	}
	return plan.Device{Node: node, Driver: driverOf(sys, node), Chip: chipOf(sys, node)}
}

// box is what known faults are found by.
func (r *ProbeReport) box() quirk.Box { return quirk.Box{GStreamer: r.GStreamer, Chips: r.Chips} }

// device gives the hardware behind an element as it was found.
func (r *ProbeReport) device(element string) plan.Device {
	for _, c := range r.Candidates {
		if c.Element == element {
			return plan.Device{Node: c.Device, Driver: c.Driver, Chip: c.Chip}
		}
	}
	return plan.Device{}
}

// cardDrivers are the kernel drivers of the graphics cards that have outputs.
func cardDrivers(sys fs.FS) []string {
	drm, err := fs.Sub(sys, "class/drm")
	if err != nil {
		return nil
	}
	var drivers []string
	for _, c := range plan.Connectors(drm) {
		if c.Driver != "" && !slices.Contains(drivers, c.Driver) {
			drivers = append(drivers, c.Driver)
		}
	}
	return drivers
}

// Faults lists the known faults of the box, each once: of the decoders that were found, and of the graphics cards.
func (r *ProbeReport) Faults(p plan.Preference) (all quirk.Rows) {
	add := func(rows quirk.Rows) {
		for _, row := range rows {
			if !slices.ContainsFunc(all, func(have quirk.Row) bool { return have.ID == row.ID }) {
				all = append(all, row)
			}
		}
	}
	for _, c := range r.Candidates {
		add(r.Quirks(c, p))
	}
	for _, driver := range r.Cards {
		add(quirk.Except(p.IgnoredQuirks).On(r.box(), quirk.Use{Driver: driver}))
	}
	return all
}

// OnThisBox completes what is known of decoders elsewhere by what this box says of itself: what it is, its graphics cards
// and the chips of its devices.
func (r *ProbeReport) OnThisBox(sys fs.FS) {
	r.Chips, r.Cards = readChips(sys), cardDrivers(sys)
	for i := range r.Candidates {
		r.Candidates[i].Chip = chipOf(sys, r.Candidates[i].Device)
	}
}

// Slower says that an element was slower in its trial than a software decoder.
func (r *ProbeReport) Slower(element string, c format.Codec) bool {
	have := r.candidate(element, c)
	if have == nil || have.Family == plan.Software || have.Result != Passed {
		return false
	}
	for _, other := range r.Candidates {
		if other.Family == plan.Software && other.Codec == c && other.Result == Passed && other.FPS > have.FPS {
			return true
		}
	}
	return false
}

// Quirks lists the known faults of a candidate's device, with pictures of any size.
func (r *ProbeReport) Quirks(c Candidate, p plan.Preference) quirk.Rows {
	return quirk.Except(p.IgnoredQuirks).On(r.box(), quirk.Use{
		Driver: c.Driver, Chip: c.Chip, Element: c.Element, Codec: c.Codec, AnyPicture: true,
	})
}

// hardware is what a renderer knows of the devices behind elements.
type hardware struct {
	chips []string               // of the box
	at    map[string]plan.Device // by element, as the newest process said; only of elements that know theirs
	stale bool                   // devices have come or gone since the probe: names may have moved
}

// moved takes in that devices have come or gone: an element may have the name of another device now.
func (h *hardware) moved() { h.at, h.stale = nil, true }

// knowsItsNode says that an element knows its device before that is open, and that its name moves to the next device.
func knowsItsNode(element string) bool { return strings.HasPrefix(element, "v4l2") }

// toLocate are the elements whose devices are worth asking for.
func (r *Renderer) toLocate(found []string) (elements []string) {
	for _, d := range plan.Decoders(r.config.Prefer, found) {
		if knowsItsNode(d.Element) {
			elements = append(elements, d.Element)
		}
	}
	return elements
}

// locate takes in which nodes elements have.
func (r *Renderer) locate(nodes map[string]string) {
	at := make(map[string]plan.Device)
	for element, node := range nodes {
		at[element] = deviceAt(r.config.Sys, node)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hardware.at = at
}

// device is the hardware behind an element, empty when it is not known. r.mu is held.
func (r *Renderer) device(element string) plan.Device {
	if d := r.hardware.at[element]; d.Node != "" {
		return d
	}
	if r.hardware.stale && knowsItsNode(element) {
		return plan.Device{}
	}
	d := r.probe.device(element)
	if r.looked && !slices.ContainsFunc(r.nodes, func(n deviceNode) bool { return n.path == d.Node }) {
		return plan.Device{}
	}
	return d
}

// errSpent ends a child whose decoder takes no more pipelines in one process; see quirk.NewRenderer.
var errSpent = errors.New("the decoder needs a new renderer process after so many pipelines")

// locatePatience is how long the child may take to say which devices its elements have.
const locatePatience = time.Second

// locateDenied waits for the devices of the elements, once, when something is denied: by its name alone a decoder may be
// taken for another one.
func (a *attempt) locateDenied(ctx context.Context) error {
	a.r.mu.Lock()
	denied := len(a.r.deny.names(time.Now())) > 0
	a.r.mu.Unlock()
	if a.asked || !denied {
		return nil
	}
	if err := a.askForNodes(ctx); err != nil {
		return err
	}
	if a.asked {
		await(ctx, a.whereabouts, locatePatience)
	}
	return nil
}

// askForNodes has the child say which devices its elements have, once. It belongs to feed.
func (a *attempt) askForNodes(ctx context.Context) error {
	elements := a.r.toLocate(a.own)
	if a.asked || len(elements) == 0 {
		return nil
	}
	a.asked = true
	if err := a.out.JSON(KindDescribe, Describe{Elements: elements}); err != nil {
		return broken(ctx, err)
	}
	return nil
}

// takeNodes takes in the answer, the first one.
func (a *attempt) takeNodes(nodes map[string]string) {
	a.mu.Lock()
	first := a.nodesOf == nil
	if first {
		a.nodesOf = nodes
		if nodes == nil {
			a.nodesOf = map[string]string{}
		}
	}
	var current plan.Plan
	if a.plan != nil {
		current = a.located(*a.plan)
	}
	a.mu.Unlock()
	if !first {
		return
	}
	a.r.mu.Lock()
	known := a.r.hardware.at != nil // by a process that was started later, or with the same devices
	a.r.mu.Unlock()
	if !known {
		a.r.locate(nodes)
	}
	close(a.whereabouts)
	if current.Element != "" {
		a.takePlace(current)
	}
}

// located is a plan with the device that its element has in this child, as far as that is known. a.mu is held.
func (a *attempt) located(p plan.Plan) plan.Plan {
	if node := a.nodesOf[p.Element]; node != "" {
		p.Device = deviceAt(a.r.config.Sys, node)
	}
	return p
}

// takePlace counts the pipeline of the picture, in place of the one before.
func (a *attempt) takePlace(p plan.Plan) {
	leave := a.r.places.use(p)
	a.mu.Lock()
	leave, a.place = a.place, leave
	a.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// leavePlace takes in that the pipeline is gone.
func (a *attempt) leavePlace() { a.takePlace(plan.Plan{}) }

// Places are those on devices that this renderer uses; they are for a probe that goes on meanwhile.
func (r *Renderer) Places() *Places { return &r.places }
