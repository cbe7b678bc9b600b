package kvstest

import (
	"fmt"
	"time"
)

// incarnation is a stream from its creation to its deletion. Another one of the same name has another ARN, other
// fragment numbers and other tokens.
type incarnation struct {
	arn     string
	created time.Time
	source  *Source
	feed    feed
}

// incarnate makes a stream that is created now, or was created so long ago as its history goes back.
func (s *Stream) incarnate(source *Source, history time.Duration) (*incarnation, error) {
	now := s.clock.now()
	created := now.Add(-history).Truncate(time.Millisecond)
	if !created.After(s.last) { // the ARN has milliseconds
		created = s.last.Add(time.Millisecond)
	}
	s.last = created
	i := &incarnation{
		arn:     fmt.Sprintf("arn:aws:kinesisvideo:%s:%s:stream/%s/%d", s.service.Region, account, s.name, created.UnixMilli()),
		created: created, source: source,
	}
	if source.capture != nil {
		i.feed = &recorded{source.capture, source.documents}
		return i, nil
	}
	config := s.config
	config.History = history
	l, err := newLive(i.arn, source, config, now)
	if err != nil {
		return nil, err
	}
	i.feed = l
	return i, nil
}

// account is the AWS account that all streams belong to.
const account = "123456789012"

// Create creates the stream again after Delete, or for the first time if it was Absent, from a source or, with nil,
// from the one that it was added with. Fragment numbers begin at the lowest.
func (s *Stream) Create(source *Source) error {
	if source == nil {
		source = s.source
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return fmt.Errorf("kvstest: there is a stream %q already; delete it first", s.name)
	}
	created, err := s.incarnate(source, 0)
	if err != nil {
		return err
	}
	s.current = created
	return nil
}

// Delete deletes the stream: its sessions end, calls get ResourceNotFoundException, and its fragments and tokens are
// gone.
func (s *Stream) Delete() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	for _, session := range s.sessions {
		session.inject(Fault{Kind: deletion})
	}
}

// existing is the stream as it exists now; nil if it does not.
func (s *Stream) existing() *incarnation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// ARN is the StreamARN; "" if there is no such stream.
func (s *Stream) ARN() string {
	if i := s.existing(); i != nil {
		return i.arn
	}
	return ""
}

// live is the feed of the clip that the stream plays; nil if it is a capture or does not exist.
func (s *Stream) live() *live {
	if i := s.existing(); i != nil {
		l, _ := i.feed.(*live)
		return l
	}
	return nil
}
