package mkv

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ServicePrefix begins the name of every tag that the service adds. All other tags are the producer's.
const ServicePrefix = "AWS_KINESISVIDEO_"

// readTags reads a Tags element, wherever in the document it stands.
func (r *Reader) readTags(h header) (Event, error) {
	e, err := r.whole(h, maxMaster)
	if err != nil {
		return nil, err
	}
	r.tags = Tags{List: r.tags.List[:0], Fragment: &r.fragment, Offset: h.offset}
	return &r.tags, r.parseTags(e)
}

func (r *Reader) parseTags(e element) error {
	c := e.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		if child.id == idTag {
			if err := r.readSimpleTags(child, 0); err != nil {
				return err
			}
		}
	}
	return c.err
}

// maxTagDepth bounds how deep SimpleTags may stand in each other.
const maxTagDepth = 8

// readSimpleTags appends the SimpleTags in parent and those within them.
func (r *Reader) readSimpleTags(parent element, depth int) error {
	if depth == maxTagDepth {
		return malformed(parent.id, parent.offset, "nested too deeply")
	}
	c := parent.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		if child.id != idSimpleTag {
			continue
		}
		tag, err := parseSimpleTag(child)
		if err != nil {
			return err
		}
		r.tags.List = append(r.tags.List, tag)
		r.fragment.note(tag)
		if err := r.readSimpleTags(child, depth+1); err != nil {
			return err
		}
	}
	return c.err
}

func parseSimpleTag(e element) (Tag, error) {
	var tag Tag
	c := e.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		switch child.id {
		case idTagName:
			tag.Name = child.text()
		case idTagString:
			tag.Value = child.text()
		}
	}
	return tag, c.err
}

// maxServiceValue is more than the service writes into any tag; what is longer is none of its values.
const maxServiceValue = 1 << 10

// note takes in what a tag says of the fragment. A value that cannot be read is
// as if it had not come: the service's tags are a report, not a structure that
// could be malformed, and the frames are worth more than the report.
func (f *Fragment) note(tag Tag) {
	name, ok := strings.CutPrefix(tag.Name, ServicePrefix)
	if !ok {
		return
	}
	v := strings.TrimSpace(tag.Value)
	if name == "ERROR_CODE" {
		f.ErrorCode = nameOf(v)
		return
	}
	if len(v) > maxServiceValue {
		return
	}
	switch name {
	case "FRAGMENT_NUMBER":
		f.Number = v
	case "SERVER_TIMESTAMP":
		f.ServerTime = parseSeconds(v)
	case "PRODUCER_TIMESTAMP":
		f.ProducerTime = parseSeconds(v)
	case "MILLIS_BEHIND_NOW":
		ms, err := strconv.ParseInt(v, 10, 64)
		const most = math.MaxInt64 / int64(time.Millisecond)
		if err == nil && ms >= -most && ms <= most {
			f.Behind, f.HasBehind = time.Duration(ms)*time.Millisecond, true
		}
	case "CONTINUATION_TOKEN":
		f.Token = v
	case "ERROR_ID":
		if id, err := strconv.Atoi(v); err == nil {
			f.ErrorID = id
		}
	}
}

// parseSeconds reads decimal seconds since 1970, such as "1505500012.321". It gives
// the zero time for anything else.
func parseSeconds(s string) time.Time {
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec < 0 || sec > 1<<40 {
		return time.Time{}
	}
	if len(fraction) > 9 {
		fraction = fraction[:9]
	}
	var ns uint64
	if fraction != "" {
		if ns, err = strconv.ParseUint(fraction, 10, 64); err != nil {
			return time.Time{}
		}
		for range 9 - len(fraction) {
			ns *= 10
		}
	}
	return time.Unix(sec, int64(ns)).UTC()
}
