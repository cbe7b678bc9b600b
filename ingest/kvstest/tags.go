package kvstest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The names of the service's tags all begin with this.
const tagPrefix = "AWS_KINESISVIDEO_"

const (
	tagFragmentNumber    = tagPrefix + "FRAGMENT_NUMBER"
	tagServerTimestamp   = tagPrefix + "SERVER_TIMESTAMP"
	tagProducerTimestamp = tagPrefix + "PRODUCER_TIMESTAMP"
	tagMillisBehindNow   = tagPrefix + "MILLIS_BEHIND_NOW"
	tagContinuationToken = tagPrefix + "CONTINUATION_TOKEN"
	tagErrorCode         = tagPrefix + "ERROR_CODE"
	tagErrorID           = tagPrefix + "ERROR_ID"
)

// openingTags are the service's tags before the Cluster.
func (l Layout) openingTags(number string, server, producer time.Time) []mkv.Tag {
	stamp := seconds(producer)
	if l.NoProducerTime {
		stamp = "0.000"
	}
	return []mkv.Tag{
		{Name: tagFragmentNumber, Value: number},
		{Name: tagServerTimestamp, Value: seconds(server)},
		{Name: tagProducerTimestamp, Value: stamp},
	}
}

// closingTags are the service's tags that complete a fragment.
func closingTags(behind time.Duration, token string) []mkv.Tag {
	return []mkv.Tag{
		{Name: tagMillisBehindNow, Value: strconv.FormatInt(behind.Milliseconds(), 10)},
		{Name: tagContinuationToken, Value: token},
	}
}

// tags writes the tags of the producer and of the service that stand in one place. The seed decides their order where
// there is none.
func (l Layout) tags(producer, service []mkv.Tag, seed uint64) []byte {
	groups := [][]mkv.Tag{producer, service}
	if l.ShuffledTags {
		all := slices.Concat(producer, service)
		rand.New(rand.NewPCG(seed, uint64(len(all)))).Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		groups = [][]mkv.Tag{all}
	}
	var b []byte
	for _, group := range groups {
		size := max(1, len(group))
		if l.SplitTags {
			size = 1
		}
		for some := range slices.Chunk(group, size) {
			b = append(b, l.tagsElement(some)...)
		}
	}
	return b
}

// tagsElement writes one Tags element, in the spelling of whose tags it holds.
func (l Layout) tagsElement(tags []mkv.Tag) []byte {
	s := l.spelling()
	if slices.ContainsFunc(tags, func(t mkv.Tag) bool { return strings.HasPrefix(t.Name, tagPrefix) }) {
		s = l.serviceSpelling()
	}
	var simple [][]byte
	for _, t := range tags {
		simple = append(simple, s.master(idSimpleTag, s.text(idTagName, t.Name), s.text(idTagString, t.Value)))
	}
	return s.master(idTags, s.master(idTag, simple...))
}

// seconds is how the service writes a time: decimal seconds since 1970.
func seconds(t time.Time) string {
	ms := t.UnixMilli()
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}
