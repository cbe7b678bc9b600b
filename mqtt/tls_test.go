package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// authority is a certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(template, template, &a.key.PublicKey)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for a server or client of that name.
func (a *authority) issue(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key := newKey(a.t)
	cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey)
	return cert, key
}

// server is the configuration of a broker; with clients it asks for certificates of this authority.
func (a *authority) server(name string, clients bool) *tls.Config {
	cert, key := a.issue(name)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	if clients {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(a.cert)
	}
	return config
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	tests := []struct {
		name        string
		serverName  string
		wrongCA     bool
		clientCerts bool // the broker wants one
		clientCert  bool // the client has one
		works       bool
	}{
		{name: "good", serverName: "broker.test", works: true},
		{name: "certificate of another authority", serverName: "broker.test", wrongCA: true},
		{name: "certificate of another host", serverName: "other.test"},
		{name: "mutual", serverName: "broker.test", clientCerts: true, clientCert: true, works: true},
		{name: "mutual, without a certificate", serverName: "broker.test", clientCerts: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ca, dir := newAuthority(t), t.TempDir()
			trusted := ca
			if test.wrongCA {
				trusted = newAuthority(t)
			}
			broker := Broker{URL: "mqtts://broker.test", CAFile: filepath.Join(dir, "ca.pem")}
			writePEM(t, broker.CAFile, "CERTIFICATE", trusted.cert.Raw)
			if test.clientCert {
				broker.CertFile, broker.KeyFile = writeClientCert(t, ca, dir)
			}
			dial := serveTLS(t, ca.server(test.serverName, test.clientCerts))
			link, err := openLink(t.Context(), broker, dial, "client", nil)
			if err == nil {
				link.close(true)
			}
			var coded *Error
			if test.works != (err == nil) || err != nil && (!errors.As(err, &coded) || coded.Code != "mqtt.tls") {
				t.Errorf("err = %v", err)
			}
		})
	}
}

// serveTLS is a broker for one client over TCP: a pipe, having no buffer, loses
// the alert with which TLS 1.3 refuses a client's certificate.
func serveTLS(t *testing.T, config *tls.Config) dialFunc {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeBroker(goodBroker)
	f.wg.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			f.serve(conn, behaviour{})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.close()
	})
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listener.Addr().String())
	}
}

func writeClientCert(t *testing.T, ca *authority, dir string) (certFile, keyFile string) {
	cert, key := ca.issue("client")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(t, keyFile, "PRIVATE KEY", der)
	return certFile, keyFile
}

func TestCertificatesAreReadAgainAtEveryAttempt(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		f := newFakeBroker(goodBroker)
		f.tls = ca.server("broker.test", false)
		defer f.close()
		c := newTestClient(t, f)
		c.config.Broker = Broker{URL: "mqtts://broker.test", CAFile: filepath.Join(dir, "ca.pem")}
		stop := start(c)
		defer stop()
		synctest.Wait()
		if c.Status().Connected {
			t.Fatal("connected without the CA file")
		}
		writePEM(t, c.config.Broker.CAFile, "CERTIFICATE", ca.cert.Raw)
		time.Sleep(time.Minute) // of the bubble's time
		if s := c.Status(); !s.Connected {
			t.Errorf("Status %+v", s)
		}
	})
}
