package ingest

import (
	"strconv"
	"strings"
	"time"
)

// remedy is what is done about the end of a session.
type remedy struct {
	routine bool  // nothing is wrong: go on at once and say nothing
	state   State // until frames come again

	// The pause before the next attempt begins at base and doubles up to limit, with jitter. The first attempt
	// after frames comes after soon, if that is set: most cuts are over at once, and the picture should not notice.
	soon, base, limit time.Duration

	endpoint    bool // ask for the data endpoint again
	credentials bool // fetch credentials again, and try at once the first time
	clock       bool // requests are signed with another time now: try at once the first time
	selector    bool // the place to start at may be the fault: use the next best one
	does        string
}

// soon is the first pause after a cut: less than two frames, and enough to spread a fleet over its jitter.
const soon = 50 * time.Millisecond

var (
	retry     = remedy{state: Backoff, soon: soon, base: 500 * time.Millisecond, limit: 30 * time.Second, does: "trying again"}
	throttled = remedy{state: Backoff, base: time.Second, limit: time.Minute, does: "calling less often"}
	slowly    = remedy{state: Backoff, base: time.Second, limit: 5 * time.Minute, does: "trying again"}
)

// remedyFor is the error table: what each end of a session calls for.
func remedyFor(code string) remedy {
	switch code {
	case CodeEnd, CodeSkipped:
		return remedy{routine: true}
	case CodeIdle:
		return remedy{state: Stalled, base: time.Second, limit: 5 * time.Second, does: "waiting for the producer"}
	case CodeCut, CodeStall:
		r := retry
		r.base, r.does = 250*time.Millisecond, "resuming after the last complete fragment"
		return r
	case CodeUnreachable, CodeTLS, CodeEndpoint:
		r := retry
		r.endpoint = true
		return r
	case CodeNotStream:
		r := slowly
		r.endpoint, r.limit = true, time.Minute
		return r
	case CodeRepeated:
		return remedy{state: Backoff, base: time.Second, limit: time.Minute, does: "trying again"}
	case CodeClock:
		r := slowly
		r.clock = true
		return r
	case CodeConfig:
		return remedy{state: Failed, base: time.Minute, limit: 5 * time.Minute, does: "the configuration has to be changed; trying again"}
	case CodeCredentials:
		r := slowly
		r.credentials = true
		return r
	}
	if name, ok := strings.CutPrefix(code, prefixHTTP); ok {
		return remedyForException(name)
	}
	if number, ok := strings.CutPrefix(code, prefixMedia); ok {
		return remedyForMedia(number)
	}
	return retry
}

func remedyForException(name string) remedy {
	switch name {
	case "ClientLimitExceededException", "ThrottlingException", "TooManyRequestsException":
		return throttled
	case "ConnectionLimitExceededException":
		r := throttled
		r.base, r.does = 5*time.Second, "waiting for other connections to this stream to end"
		return r
	case "InvalidEndpointException":
		r := retry
		r.endpoint, r.does = true, "asking for the endpoint again"
		return r
	case "ResourceNotFoundException":
		r := slowly
		r.endpoint, r.state = true, Failed
		return r
	case "InvalidArgumentException":
		return remedy{state: Failed, base: time.Second, limit: 5 * time.Minute, selector: true, does: "trying the next best place to start at"}
	case "NotAuthorizedException", "AccessDeniedException", "AccessDenied", "ExpiredTokenException", "ExpiredToken",
		"UnrecognizedClientException", "UnrecognizedClient", "InvalidClientTokenId", "InvalidSignatureException", "InvalidSignature",
		"SignatureDoesNotMatch", "SignatureDoesNotMatchException", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired", "InvalidAccessKeyId", "AuthFailure":
		r := slowly
		r.credentials, r.endpoint, r.does = true, true, "fetching credentials again"
		return r
	}
	switch status, _ := strconv.Atoi(name); status {
	case 401, 403:
		return remedyForException("NotAuthorizedException")
	case 404:
		return remedyForException("ResourceNotFoundException")
	case 429:
		return throttled
	}
	return retry
}

// remedyForMedia is for errors in the body (getmedia: AWS_KINESISVIDEO_ERROR_ID).
func remedyForMedia(number string) remedy {
	switch {
	case number == "4000":
		return remedy{state: Backoff, base: time.Second, limit: time.Minute, selector: true, does: "trying the next best place to start at"}
	case strings.HasPrefix(number, "45"): // the key: nothing on this side can mend it
		r := slowly
		r.soon = soon
		return r
	}
	return retry
}
