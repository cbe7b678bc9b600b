package ingest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue makes a certificate and writes <name>.pem and <name>.key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-48 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(48 * time.Hour)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", raw)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// serverCertificate issues a certificate for a server.
func (a *authority) serverCertificate(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	a.issue("server", template)
	cert, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// quiet is where servers log that clients give up on them, as they should.
var quiet = log.New(io.Discard, "", 0)

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// credentialEndpoint is AWS IoT's credential provider, as its documentation describes it.
type credentialEndpoint struct {
	*httptest.Server
	calls atomic.Int64
	life  time.Duration // of the credentials
}

func newCredentialEndpoint(t *testing.T, a *authority) *credentialEndpoint {
	t.Helper()
	e := &credentialEndpoint{life: time.Hour}
	cert := a.serverCertificate(&x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ErrorLog = quiet
	e.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *credentialEndpoint) host() string {
	return strings.Replace(strings.TrimPrefix(e.URL, "https://"), "127.0.0.1", "localhost", 1)
}

func (e *credentialEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := e.calls.Add(1)
	refuse := func(status int, message string) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
	switch {
	case r.URL.Path == "/role-aliases/gone/credentials":
		refuse(http.StatusNotFound, "Role alias does not exist")
	case r.URL.Path == "/role-aliases/moved/credentials":
		http.Redirect(w, r, "/role-aliases/video/credentials", http.StatusTemporaryRedirect)
	case r.URL.Path == "/role-aliases/odd/credentials":
		fmt.Fprint(w, "{}")
	case r.URL.Path != "/role-aliases/video/credentials":
		refuse(http.StatusBadRequest, "Invalid path")
	case r.Header.Get("x-amzn-iot-thingname") != r.TLS.PeerCertificates[0].Subject.CommonName:
		refuse(http.StatusForbidden, "Access Denied")
	default:
		json.NewEncoder(w).Encode(map[string]any{"credentials": map[string]string{
			"accessKeyId": fmt.Sprint("key-", n), "secretAccessKey": "secret", "sessionToken": "token",
			"expiration": time.Now().Add(e.life).UTC().Format(time.RFC3339),
		}})
	}
}

func TestIoTCredentials(t *testing.T) {
	a := newAuthority(t)
	a.issue("box-1", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	endpoint := newCredentialEndpoint(t, a)
	good := ingest.IoTCredentials{
		Endpoint: endpoint.host(), RoleAlias: "video", ThingName: "box-1",
		CertFile: a.file("box-1.pem"), KeyFile: a.file("box-1.key"), CAFile: a.file("ca.pem"),
	}
	c, err := good.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.AccessKeyID == "" || c.SessionToken != "token" || !c.CanExpire || time.Until(c.Expires) < 50*time.Minute {
		t.Errorf("%+v", c)
	}
	for name, tc := range map[string]struct {
		change func(*ingest.IoTCredentials)
		says   string
	}{
		"another thing's name": {func(p *ingest.IoTCredentials) { p.ThingName = "box-2" }, "403 Forbidden: Access Denied"},
		"no such role alias":   {func(p *ingest.IoTCredentials) { p.RoleAlias = "gone" }, "404 Not Found: Role alias does not exist"},
		"a redirect":           {func(p *ingest.IoTCredentials) { p.RoleAlias = "moved" }, "307 Temporary Redirect"},
		"an answer without":    {func(p *ingest.IoTCredentials) { p.RoleAlias = "odd" }, "holds no credentials"},
		"no certificate":       {func(p *ingest.IoTCredentials) { p.CertFile = a.file("none.pem") }, "certificate cannot be used"},
		"a wrong authority":    {func(p *ingest.IoTCredentials) { p.CAFile = newAuthority(t).file("ca.pem") }, "unknown authority"},
		"nobody there":         {func(p *ingest.IoTCredentials) { p.Endpoint = "localhost:1" }, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := good
			tc.change(&p)
			if _, err := p.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

// Credentials are kept while they are good for long, and fetched anew before they expire.
func TestIoTCredentialsAreRenewedEarly(t *testing.T) {
	a := newAuthority(t)
	a.issue("box", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	endpoint := newCredentialEndpoint(t, a)
	cache := (&ingest.IoTCredentials{
		Endpoint: endpoint.host(), RoleAlias: "video", ThingName: "box",
		CertFile: a.file("box.pem"), KeyFile: a.file("box.key"), CAFile: a.file("ca.pem"),
	}).Cached()
	retrieve := func() string {
		c, err := cache.Retrieve(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return c.AccessKeyID
	}
	if first, second := retrieve(), retrieve(); first != second {
		t.Errorf("fetched twice: %s, %s", first, second)
	}
	cache.Invalidate()
	endpoint.life = time.Minute // sooner than they are renewed
	retrieve()
	before := endpoint.calls.Load()
	retrieve()
	if endpoint.calls.Load() == before {
		t.Error("credentials that expire in a minute were kept")
	}
}
