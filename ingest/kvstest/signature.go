package kvstest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signingName is the service's name in signatures.
const signingName = "kinesisvideo"

// maxSkew is how far the clock of a client may be off.
const maxSkew = 5 * time.Minute

// amzTime is the layout of X-Amz-Date.
const amzTime = "20060102T150405Z"

var authorizationPattern = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/\s]+)/(\d{8})/([^/\s]+)/([^/\s]+)/aws4_request, *SignedHeaders=([a-z0-9;_-]+), *Signature=([0-9a-f]{64})$`)

// authority checks signatures (AWS Signature Version 4): it signs what it got again, with the key that it knows, and
// compares.
type authority struct {
	region string
	now    func() time.Time

	mu    sync.Mutex
	known []aws.Credentials
}

func (a *authority) set(known []aws.Credentials) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = slices.Clone(known)
}

// find finds the credentials that a request names, unless they are unknown or have expired.
func (a *authority) find(keyID, sessionToken string) (aws.Credentials, *Exception) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.known {
		switch {
		case c.AccessKeyID != keyID || c.SessionToken != sessionToken:
		case c.CanExpire && !a.now().Before(c.Expires):
			return c, ExpiredToken
		default:
			return c, nil
		}
	}
	return aws.Credentials{}, UnrecognizedClient
}

// check refuses a request that was not signed with credentials of the authority for its region, not long ago.
func (a *authority) check(r *http.Request, body []byte) *Exception {
	header := r.Header.Get("Authorization")
	if header == "" {
		return MissingAuthentication
	}
	m := authorizationPattern.FindStringSubmatch(header)
	if m == nil {
		return &Exception{400, "IncompleteSignatureException", "Authorization header cannot be read: '" + header + "'"}
	}
	keyID, day, region, service, signed := m[1], m[2], m[3], m[4], strings.Split(m[5], ";")
	known, e := a.find(keyID, r.Header.Get("X-Amz-Security-Token"))
	if e != nil {
		return e
	}
	if service != signingName {
		return invalidSignature("Credential should be scoped to correct service: '" + signingName + "'.")
	}
	if region != a.region {
		return invalidSignature("Credential should be scoped to a valid region, not '" + region + "'.")
	}
	at, err := time.Parse(amzTime, r.Header.Get("X-Amz-Date"))
	if err != nil || at.Format("20060102") != day {
		return invalidSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	}
	if e := a.checkSkew(at); e != nil {
		return e
	}
	again, err := a.sign(r, body, known, signed, at)
	if err != nil {
		return InternalFailure
	}
	if subtle.ConstantTimeCompare([]byte(again), []byte(header)) != 1 {
		return InvalidSignature
	}
	return nil
}

func (a *authority) checkSkew(at time.Time) *Exception {
	now := a.now().UTC()
	switch {
	case at.Before(now.Add(-maxSkew)):
		return invalidSignature(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			at.Format(amzTime), now.Add(-maxSkew).Format(amzTime), now.Format(amzTime)))
	case at.After(now.Add(maxSkew)):
		return invalidSignature(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			at.Format(amzTime), now.Add(maxSkew).Format(amzTime), now.Format(amzTime)))
	}
	return nil
}

// sign gives the Authorization header of a request that has only the headers that the client signed.
func (a *authority) sign(
	r *http.Request, body []byte, known aws.Credentials, signed []string, at time.Time,
) (string, error) {
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range signed {
		switch name {
		case "host": // the signer always signs it
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(body)
	err := v4.NewSigner().SignHTTP(r.Context(), known, again, hex.EncodeToString(hash[:]), signingName, a.region, at)
	return again.Header.Get("Authorization"), err
}
