package kvstest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// streamInfo is what DescribeStream and ListStreams say of a stream (StreamInfo of the API reference).
type streamInfo struct {
	CreationTime         float64 // seconds since 1970
	DataRetentionInHours int
	KmsKeyID             string `json:"KmsKeyId"`
	MediaType            string `json:",omitempty"`
	Status               string
	StreamARN            string
	StreamName           string
	Version              string
}

// defaultRetention is how long fragments are kept where nothing else is said.
const defaultRetention = 24 * time.Hour

// mediaTypes are the media types of the codecs of the leading track.
var mediaTypes = map[string]string{mkv.CodecH264: "video/h264", mkv.CodecH265: "video/h265"}

// describe describes the stream that exists; false if none does.
func (s *Stream) describe() (streamInfo, bool) {
	i := s.existing()
	if i == nil {
		return streamInfo{}, false
	}
	version := fnv.New64a()
	version.Write([]byte(i.arn))
	info := streamInfo{
		CreationTime:         float64(i.created.UnixMilli()) / 1000,
		DataRetentionInHours: int(cmp.Or(s.config.Retention, defaultRetention) / time.Hour),
		KmsKeyID:             fmt.Sprintf("arn:aws:kms:%s:%s:alias/aws/kinesisvideo", s.service.Region, account),
		Status:               "ACTIVE",
		StreamARN:            i.arn,
		StreamName:           s.name,
		Version:              fmt.Sprintf("%020x", version.Sum64()),
	}
	if leading := i.source.leading(); leading != nil {
		info.MediaType = mediaTypes[leading.CodecID]
	}
	return info, true
}

func (s *Server) describeStream(w http.ResponseWriter, stream *Stream, call *record) {
	info, ok := stream.describe()
	if !ok { // deleted since it was found
		s.refuse(w, call, ResourceNotFound)
		return
	}
	s.answer(w, call, struct{ StreamInfo streamInfo }{info})
}

// nameCondition is which streams ListStreams lists.
type nameCondition struct {
	ComparisonOperator string
	ComparisonValue    string
}

// maxResults is how many streams one answer may list.
const maxResults = 10_000

// listStreams answers with the streams that exist, by name, no more at once than was asked for.
func (s *Server) listStreams(w http.ResponseWriter, in request, call *record) {
	most, prefix := maxResults, ""
	if in.MaxResults != nil {
		most = *in.MaxResults
	}
	if c := in.StreamNameCondition; c != nil {
		prefix = c.ComparisonValue
		if c.ComparisonOperator != "BEGINS_WITH" {
			s.refuse(w, call, invalidArgument("ComparisonOperator must be BEGINS_WITH"))
			return
		}
	}
	after, err := base64.StdEncoding.DecodeString(in.NextToken)
	if err != nil || most < 1 || most > maxResults {
		s.refuse(w, call, invalidArgument("MaxResults must be 1 to 10000, and NextToken one of an earlier answer"))
		return
	}
	var out struct {
		NextToken      string `json:",omitempty"`
		StreamInfoList []streamInfo
	}
	out.StreamInfoList = slices.DeleteFunc(s.describeAll(), func(i streamInfo) bool {
		return !strings.HasPrefix(i.StreamName, prefix) || i.StreamName <= string(after)
	})
	if len(out.StreamInfoList) > most {
		out.StreamInfoList = out.StreamInfoList[:most]
		out.NextToken = base64.StdEncoding.EncodeToString([]byte(out.StreamInfoList[most-1].StreamName))
	}
	s.answer(w, call, out)
}

// describeAll describes the streams that exist, in the order of their names.
func (s *Server) describeAll() []streamInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []streamInfo{} // not null in JSON
	for _, stream := range s.streams {
		if info, ok := stream.describe(); ok {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b streamInfo) int { return strings.Compare(a.StreamName, b.StreamName) })
	return all
}
