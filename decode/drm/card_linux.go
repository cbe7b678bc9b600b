package drm

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"
)

// Card is an open graphics card. Its methods may block for as long as the driver likes.
type Card struct{ File *os.File }

// Open opens the device node of a card, such as /dev/dri/card0.
func Open(path string) (*Card, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Card{file}, nil
}

// Close closes the card. What it showed goes.
func (c *Card) Close() error { return c.File.Close() }

// BecomeMaster takes the right to set modes, which only one program has. EBUSY or EACCES: another one has it.
func (c *Card) BecomeMaster() error { return c.ask(setMaster, nil) }

// DropMaster gives that right back; who has it not need not.
func (c *Card) DropMaster() { _ = c.ask(dropMaster, nil) }

// Look has the kernel look at an output, of which it may know nothing yet.
func Look(card string, id int) error {
	c, err := Open(card)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ask(getConnector, unsafe.Pointer(&connector{ID: uint32(id)}))
}

// array has the kernel fill an array. fill asks with its address and length, and gives the length that it should have.
func array[T any](fill func(address uint64, n uint32) (uint32, error)) ([]T, error) {
	var list []T
	for range 10 { // outputs come and go
		var pinned runtime.Pinner
		address := uint64(0)
		if len(list) > 0 {
			pinned.Pin(&list[0])
			address = uint64(uintptr(unsafe.Pointer(&list[0])))
		}
		n, err := fill(address, uint32(len(list)))
		pinned.Unpin()
		if err != nil {
			return nil, err
		}
		if int(n) <= len(list) {
			return list[:n], nil
		}
		list = make([]T, n)
	}
	return nil, errors.New("the kernel's answer changes all the time")
}

// Connector gives an output and a CRTC for it: the one that drives it, else the first that can.
func (c *Card) Connector(id uint32) (Connector, error) {
	crtcs, err := array[uint32](func(address uint64, n uint32) (uint32, error) {
		r := resources{CRTCs: address, CRTCCount: n}
		err := c.ask(getResources, unsafe.Pointer(&r))
		return r.CRTCCount, err
	})
	if err != nil {
		return Connector{}, fmt.Errorf("the CRTCs cannot be listed: %w", err)
	}
	modes, err := array[timing](func(address uint64, n uint32) (uint32, error) {
		r := connector{ID: id, Modes: address, ModeCount: n}
		err := c.ask(getConnector, unsafe.Pointer(&r))
		return r.ModeCount, err
	})
	if err != nil {
		return Connector{}, fmt.Errorf("the output cannot be asked: %w", err)
	}
	out := Connector{ID: id}
	slices.SortStableFunc(modes, func(a, b timing) int { return cmp.Compare(b.Type&preferred, a.Type&preferred) })
	for _, m := range modes {
		out.Modes = append(out.Modes, modeOf(m))
	}
	out.pipe, err = c.pipeOf(id, crtcs)
	if err == nil {
		out.CRTC = crtcs[out.pipe]
	}
	return out, err
}

// pipeOf finds the CRTC for an output, by its place.
func (c *Card) pipeOf(id uint32, crtcs []uint32) (int, error) {
	current := uint32(0)
	encoders, err := array[uint32](func(address uint64, n uint32) (uint32, error) {
		r := connector{ID: id, Encoders: address, EncoderCount: n, ModeCount: 1, Modes: throwAway()}
		err := c.ask(getConnector, unsafe.Pointer(&r))
		current = r.Encoder
		return r.EncoderCount, err
	})
	if err != nil {
		return 0, fmt.Errorf("the output cannot be asked: %w", err)
	}
	if current != 0 {
		e := encoder{ID: current}
		if c.ask(getEncoder, unsafe.Pointer(&e)) == nil && e.CRTC != 0 {
			if pipe := slices.Index(crtcs, e.CRTC); pipe >= 0 {
				return pipe, nil
			}
		}
	}
	for _, number := range encoders {
		e := encoder{ID: number}
		if err := c.ask(getEncoder, unsafe.Pointer(&e)); err != nil {
			return 0, err
		}
		for pipe := range crtcs {
			if e.CRTCs&(1<<pipe) != 0 {
				return pipe, nil
			}
		}
	}
	return 0, errors.New("no CRTC of the card reaches the output")
}

// unread is where the kernel may write a mode that nobody reads: who asks for none makes it look at the screen again.
var unread [64]timing

func throwAway() uint64 { return uint64(uintptr(unsafe.Pointer(&unread[0]))) }

// Planes lists the planes of the card, in the kernel's order.
func (c *Card) Planes() ([]Plane, error) {
	if err := c.may(universalPlanes, 1); err != nil {
		return nil, fmt.Errorf("the card does not tell of its planes: %w", err)
	}
	ids, err := array[uint32](func(address uint64, n uint32) (uint32, error) {
		r := planes{IDs: address, Count: n}
		err := c.ask(getPlanes, unsafe.Pointer(&r))
		return r.Count, err
	})
	if err != nil {
		return nil, fmt.Errorf("the planes cannot be listed: %w", err)
	}
	var list []Plane
	for _, id := range ids {
		p, err := c.plane(id)
		if err != nil {
			return nil, fmt.Errorf("plane %d cannot be asked: %w", id, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func (c *Card) plane(id uint32) (Plane, error) {
	var r plane
	formats, err := array[uint32](func(address uint64, n uint32) (uint32, error) {
		r = plane{ID: id, Formats: address, FormatCount: n}
		err := c.ask(getPlane, unsafe.Pointer(&r))
		return r.FormatCount, err
	})
	if err != nil {
		return Plane{}, err
	}
	p := Plane{ID: id, Shows: r.Buffer != 0, CRTC: r.CRTC, pipes: r.CRTCs}
	for _, code := range formats {
		p.Formats = append(p.Formats, fourccText(code))
	}
	p.Properties, err = c.properties(id, objectPlane)
	kinds := []Kind{Overlay, Primary, Cursor}
	if kind := p.Properties["type"].Value; kind < uint64(len(kinds)) {
		p.Kind = kinds[kind]
	}
	return p, err
}

func (c *Card) properties(id, kind uint32) (map[string]Property, error) {
	var values []uint64
	var pair properties
	numbers, err := array[uint32](func(address uint64, n uint32) (uint32, error) {
		values = make([]uint64, max(n, 1))
		var pinned runtime.Pinner
		defer pinned.Unpin()
		pinned.Pin(&values[0])
		pair = properties{IDs: address, Values: uint64(uintptr(unsafe.Pointer(&values[0]))), Count: n, ID: id, Type: kind}
		err := c.ask(getProperties, unsafe.Pointer(&pair))
		return pair.Count, err
	})
	if err != nil {
		return nil, err
	}
	all := map[string]Property{}
	for i, number := range numbers {
		name, p, err := c.property(number)
		if err != nil {
			return nil, err
		}
		p.Value = values[i]
		all[name] = p
	}
	return all, nil
}

func (c *Card) property(id uint32) (string, Property, error) {
	r := property{ID: id}
	if err := c.ask(getProperty, unsafe.Pointer(&r)); err != nil {
		return "", Property{}, err
	}
	p := Property{ID: id, Fixed: r.Flags&immutable != 0}
	if r.Flags&isEnum == 0 {
		return text(r.Name[:]), p, nil
	}
	enums, err := array[enum](func(address uint64, n uint32) (uint32, error) {
		q := property{ID: id, Enums: address, EnumCount: n}
		err := c.ask(getProperty, unsafe.Pointer(&q))
		return q.EnumCount, err
	})
	if err != nil {
		return "", p, err
	}
	p.Names = map[string]uint64{}
	for _, e := range enums {
		p.Names[text(e.Name[:])] = e.Value
	}
	return text(r.Name[:]), p, nil
}

// NewBuffer makes a black buffer for a whole screen, that can be written.
func (c *Card) NewBuffer(width, height int) (*Buffer, error) {
	d := dumb{Width: uint32(width), Height: uint32(height), BitsPerPixel: 32}
	if err := c.ask(createDumb, unsafe.Pointer(&d)); err != nil {
		return nil, fmt.Errorf("there is no memory for a screen of %d×%d: %w", width, height, err)
	}
	b := &Buffer{handle: d.Handle, Width: width, Height: height, Stride: int(d.Pitch)}
	f := framebuffer{Width: d.Width, Height: d.Height, Format: fourcc("XR24"), Handles: [4]uint32{d.Handle}, Pitches: [4]uint32{d.Pitch}}
	m := mapping{Handle: d.Handle}
	err := c.ask(addFB, unsafe.Pointer(&f))
	b.ID = f.ID
	if err == nil {
		err = c.ask(mapDumb, unsafe.Pointer(&m))
	}
	if err == nil {
		b.Pixels, err = syscall.Mmap(int(c.File.Fd()), int64(m.Offset), int(d.Size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	}
	if err != nil {
		c.Free(b)
		return nil, fmt.Errorf("a buffer for the screen cannot be used: %w", err)
	}
	clear(b.Pixels)
	return b, nil
}

// newVideo makes a buffer in the format of video, NV12, that is only there to ask about.
func (c *Card) newVideo(width, height int, format string) (*Buffer, error) {
	rows, bits := uint32(height), uint32(32)
	if format == "NV12" {
		rows, bits = uint32(height+height/2), 8
	}
	d := dumb{Width: uint32(width), Height: rows, BitsPerPixel: bits}
	if err := c.ask(createDumb, unsafe.Pointer(&d)); err != nil {
		return nil, err
	}
	b := &Buffer{handle: d.Handle, Width: width, Height: height, Stride: int(d.Pitch)}
	f := framebuffer{Width: uint32(width), Height: uint32(height), Format: fourcc(format), Handles: [4]uint32{d.Handle}, Pitches: [4]uint32{d.Pitch}}
	if format == "NV12" {
		f.Handles[1], f.Pitches[1], f.Offsets[1] = d.Handle, d.Pitch, d.Pitch*uint32(height)
	}
	err := c.ask(addFB, unsafe.Pointer(&f))
	b.ID = f.ID
	if err != nil {
		c.Free(b)
		return nil, err
	}
	return b, nil
}

// Free gives a buffer back.
func (c *Card) Free(b *Buffer) {
	if b.Pixels != nil {
		_ = syscall.Munmap(b.Pixels)
	}
	if b.ID != 0 {
		_ = c.ask(removeFB, unsafe.Pointer(&b.ID))
	}
	_ = c.ask(destroyDumb, unsafe.Pointer(&b.handle))
	*b = Buffer{}
}

// SetMode lights a screen with a buffer. It is black while its mode changes, and only then.
func (c *Card) SetMode(on Connector, m Mode, b *Buffer) error {
	id := on.ID
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(&id)
	r := crtc{Connectors: uint64(uintptr(unsafe.Pointer(&id))), ConnectorCount: 1, ID: on.CRTC, Buffer: b.ID, Valid: 1, Mode: m.timing}
	return c.ask(setCRTC, unsafe.Pointer(&r))
}

// Hide takes what a plane shows from the screen.
func (c *Card) Hide(p Plane) error {
	return c.ask(setPlane, unsafe.Pointer(&planeUpdate{ID: p.ID}))
}

// Set sets a property of a plane.
func (c *Card) Set(p Plane, name string, value uint64) error {
	return c.ask(setProperty, unsafe.Pointer(&assignment{Value: value, Property: p.Properties[name].ID, ID: p.ID, Type: objectPlane}))
}

// ErrNotAsked says that a card's driver cannot be asked whether something would work.
var ErrNotAsked = errors.New("the driver cannot be asked without trying")

// Tests says whether a plane would show a picture of a format and size there, scaled. Nothing is changed.
func (c *Card) Tests(p Plane, on Connector, format string, width, height int, there Rectangle) error {
	if err := c.may(atomicCommits, 1); err != nil {
		return ErrNotAsked
	}
	defer func() {
		_ = c.may(atomicCommits, 0)
		_ = c.may(universalPlanes, 1)
	}()
	b, err := c.newVideo(width, height, format)
	if err != nil {
		return err
	}
	defer c.Free(b)
	all, err := c.properties(p.ID, objectPlane)
	if err != nil {
		return err
	}
	wanted := []struct {
		name  string
		value uint64
	}{
		{"FB_ID", uint64(b.ID)},
		{"CRTC_ID", uint64(on.CRTC)},
		{"CRTC_X", uint64(there.X)},
		{"CRTC_Y", uint64(there.Y)},
		{"CRTC_W", uint64(there.Width)},
		{"CRTC_H", uint64(there.Height)},
		{"SRC_X", 0},
		{"SRC_Y", 0},
		{"SRC_W", uint64(width) << 16},
		{"SRC_H", uint64(height) << 16},
	}
	var ids []uint32
	var values []uint64
	for _, w := range wanted {
		q, there := all[w.name]
		if !there {
			return ErrNotAsked
		}
		ids, values = append(ids, q.ID), append(values, w.value)
	}
	object, count := p.ID, uint32(len(ids))
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(&object)
	pinned.Pin(&count)
	pinned.Pin(&ids[0])
	pinned.Pin(&values[0])
	return c.ask(commit, unsafe.Pointer(&atomic{
		Flags: testOnly, ObjectCount: 1,
		Objects: uint64(uintptr(unsafe.Pointer(&object))), Counts: uint64(uintptr(unsafe.Pointer(&count))),
		IDs: uint64(uintptr(unsafe.Pointer(&ids[0]))), Value: uint64(uintptr(unsafe.Pointer(&values[0]))),
	}))
}

// Atomic says that the driver is of the newer kind, whose planes wait for the screen by themselves.
func (c *Card) Atomic() bool {
	if c.may(atomicCommits, 1) != nil {
		return false
	}
	_ = c.may(atomicCommits, 0)
	_ = c.may(universalPlanes, 1)
	return true
}

// may asks for a capability, or gives it back.
func (c *Card) may(capability, value uint64) error {
	return c.ask(setClientCap, unsafe.Pointer(&clientCap{capability, value}))
}
