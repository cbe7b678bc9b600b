package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// IoTCredentials gets credentials from the AWS IoT Core credential provider: a device that
// has a certificate gets short-lived credentials of a role (AWS IoT Core developer guide,
// "Authorizing direct calls to AWS services"). It is an aws.CredentialsProvider.
type IoTCredentials struct {
	Endpoint  string // host of the account's credential endpoint, such as c2….credentials.iot.eu-west-1.amazonaws.com
	RoleAlias string
	ThingName string // "" when the policies do not ask for it
	CertFile  string // PEM; the files are read again at every call, so that they can be renewed
	KeyFile   string
	CAFile    string // PEM of the authorities to trust; "" for those of the system
}

// Time limits of a call, and how much earlier than at their expiry credentials are fetched anew.
const (
	iotConnectTimeout = 3 * time.Second
	iotCallTimeout    = 5 * time.Second
	iotEarly          = 5 * time.Minute
	iotJitter         = 0.5 // of iotEarly, at random, so that a fleet does not come all at once
)

// Cached keeps credentials until shortly before they expire.
func (p *IoTCredentials) Cached() *aws.CredentialsCache {
	return aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow, o.ExpiryWindowJitterFrac = iotEarly, iotJitter
	})
}

// Retrieve asks for credentials. The error says what AWS said.
func (p *IoTCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, iotCallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"https://"+p.Endpoint+"/role-aliases/"+url.PathEscape(p.RoleAlias)+"/credentials", nil)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint %q is no host name: %w", p.Endpoint, err)
	}
	if p.ThingName != "" {
		req.Header.Set("x-amzn-iot-thingname", p.ThingName)
	}
	transport, err := p.transport()
	if err != nil {
		return aws.Credentials{}, err
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint does not answer: %w", err)
	}
	defer resp.Body.Close()
	return p.read(resp)
}

// transport is for one call, as the files may have changed since the last.
func (p *IoTCredentials) transport() (*http.Transport, error) {
	cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the device's certificate cannot be used: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if p.CAFile != "" {
		pem, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, fmt.Errorf("the authorities to trust cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", p.CAFile)
		}
	}
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: iotConnectTimeout}).DialContext,
		TLSHandshakeTimeout: iotConnectTimeout,
		TLSClientConfig:     config,
	}, nil
}

// read reads an answer: credentials, or a message why there are none.
func (p *IoTCredentials) read(resp *http.Response) (aws.Credentials, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint broke off: %w", err)
	}
	var body struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
		Message string `json:"message"`
	}
	err = json.Unmarshal(raw, &body)
	c := body.Credentials
	switch {
	case resp.StatusCode != http.StatusOK:
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint answers %s: %s", resp.Status, body.Message)
	case err != nil:
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint's answer cannot be read: %w", err)
	case c.AccessKeyID == "" || c.SecretAccessKey == "" || c.Expiration.IsZero():
		return aws.Credentials{}, fmt.Errorf("the IoT credential endpoint's answer holds no credentials")
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: true, Expires: c.Expiration, Source: "AWS IoT role alias " + p.RoleAlias,
	}, nil
}
