package ingest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// until runs a session until a code is reported.
func (r *recorder) until(t *testing.T, service *ingest.Service, code string) {
	t.Helper()
	defer service.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, service, nil, &noted{r, func(p ingest.Report) {
		if p.Code == code {
			cancel()
		}
	}}).Run(ctx)
	if r.find(code) == nil {
		t.Fatalf("reports %q, none of them %s", r.codes(), code)
	}
}

// What is wrong with a certificate is said, under a code of its own, for GetDataEndpoint and for GetMedia.
func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	for name, row := range map[string]struct {
		template x509.Certificate
		unknown  bool // the box does not know the authority
		plain    bool // the server does not speak TLS
		says     string
	}{
		"another name":      {template: x509.Certificate{DNSNames: []string{"other.example.com"}}, says: `the certificate is for another name: it names "other.example.com"`},
		"expired":           {template: x509.Certificate{NotAfter: time.Now().Add(-time.Hour)}, says: "check the clock"},
		"not yet valid":     {template: x509.Certificate{NotBefore: time.Now().Add(24 * time.Hour)}, says: "check the clock"},
		"unknown authority": {unknown: true, says: "unknown authority"},
		"no TLS":            {plain: true, says: "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			template := row.template
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			if template.DNSNames == nil {
				template.DNSNames = []string{"localhost"}
			}
			cert := a.serverCertificate(&template)
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = quiet
			server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			if row.plain {
				server.Start()
			} else {
				server.StartTLS()
			}
			defer server.Close()
			_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
			bad := "https://localhost:" + port
			roots := x509.NewCertPool()
			if !row.unknown {
				roots.AddCert(a.cert)
			}
			config := aws.Config{
				Region:      "us-east-1",
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return kvstest.Credentials(), nil }),
				HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
			}
			control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { endpointAnswer(w, bad) }))
			defer control.Close()
			for of, url := range map[string]string{"GetDataEndpoint": bad, "GetMedia": control.URL} {
				var r recorder
				r.until(t, ingest.NewService(config, url), ingest.CodeTLS)
				if p := r.find(ingest.CodeTLS); !strings.Contains(p.Message, row.says) || !strings.Contains(p.Message, "localhost") {
					t.Errorf("%s: %q does not say %q", of, p.Message, row.says)
				}
			}
		})
	}
}

// What fails on the way to the service is told apart.
func TestNetworkFailures(t *testing.T) {
	timeout := &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
	for name, row := range map[string]struct {
		err  error
		says string
	}{
		"no such name":   {&net.DNSError{Name: "kvs.example.com", IsNotFound: true}, `DNS does not know the name "kvs.example.com"`},
		"no DNS":         {&net.DNSError{Name: "kvs.example.com", IsTimeout: true}, "the DNS server does not answer"},
		"refused":        {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "refused"},
		"no route":       {&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, "no route"},
		"no network":     {&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, "no route"},
		"no connection":  {timeout, "no connection within the time limit"},
		"a proxy":        {&net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}, "HTTPS_PROXY"},
		"reset":          {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "reset before an answer"},
		"something else": {errors.New("EOF"), "ended before an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			config := aws.Config{
				Region:      "us-east-1",
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return kvstest.Credentials(), nil }),
				HTTPClient: &http.Client{Transport: &http.Transport{
					DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, row.err },
				}},
			}
			var r recorder
			r.until(t, ingest.NewService(config, "http://kvs.example.com"), ingest.CodeUnreachable)
			p := r.find(ingest.CodeUnreachable)
			if !strings.Contains(p.Message, row.says) || !strings.Contains(p.Message, "kvs.example.com") {
				t.Errorf("%q does not say %q", p.Message, row.says)
			}
		})
	}
}
