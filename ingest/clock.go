package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// serviceClock gives the time to sign requests with: the box's, unless the service's Date headers say that it is wrong.
// Once corrected it counts from the service's time by the monotonic clock, so that a later step of the box's clock does
// no harm. AWS SDKs do the same (Clock Skew Correction). Its zero value is the box's clock; it may be used from any
// goroutine.
type serviceClock struct {
	mu             sync.Mutex
	service, local time.Time // that were read together; zero as long as the box's clock is right
}

const (
	// rightClock is how far the box's clock may be off and is used all the same. A Date header has whole seconds, and a
	// signature is good for five minutes (SigV4).
	rightClock = time.Minute
	// wrongClock is how far a signature has to be off to be the likely reason why it was refused: the limit of the AWS
	// SDKs.
	wrongClock = 4 * time.Minute
)

func (c *serviceClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service.IsZero() {
		return time.Now()
	}
	return c.service.Add(time.Since(c.local))
}

// learn takes the service's time from the headers of an answer, and gives by how much the box's clock is behind it;
// false when the answer does not say, or comes from a cache.
func (c *serviceClock) learn(h http.Header, received time.Time) (time.Duration, bool) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" {
		return 0, false
	}
	off := date.Sub(received)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.service, c.local = date, received
	if off.Abs() < rightClock {
		c.service = time.Time{}
	}
	return off, true
}

// checkClock says that a refusal is about the time of the request, or gives nil. From then on requests are signed with
// the service's time.
func (s *Service) checkClock(e *Error, h http.Header, signed time.Time) *Error {
	name := strings.TrimPrefix(e.Code, prefixHTTP)
	certain := clockExceptions[name] || strings.Contains(e.Message, "Signature expired") ||
		strings.Contains(e.Message, "Signature not yet current")
	if !certain && !signatureExceptions[name] {
		return nil
	}
	received := time.Now()
	date, err := http.ParseTime(h.Get("Date"))
	if !certain && (err != nil || date.Sub(signed).Abs() < wrongClock) {
		return nil
	}
	off, known := s.clock.learn(h, received)
	out := *e
	out.Code = CodeClock
	if !known {
		out.Message = "the service says that the time of the request is wrong (" + name + "), and does not give the right one; set the clock of the box"
		return &out
	}
	direction := "behind"
	if off < 0 {
		direction = "ahead of"
	}
	out.ClockOffset = off.Round(time.Second)
	out.Message = fmt.Sprintf("the clock of the box is %v %s the service's (%s); set it. Requests are signed with the service's time", out.ClockOffset.Abs(), direction, name)
	return &out
}

// clockExceptions are about the time of a request; signatureExceptions can be.
var (
	clockExceptions = map[string]bool{
		"RequestExpired": true, "RequestExpiredException": true, "SignatureExpired": true,
		"RequestTimeTooSkewed": true, "RequestInTheFuture": true,
	}
	signatureExceptions = map[string]bool{
		"InvalidSignatureException": true, "InvalidSignature": true, "SignatureDoesNotMatch": true, "SignatureDoesNotMatchException": true,
		"AuthFailure": true,
	}
)
