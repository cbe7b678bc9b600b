package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

func newAuthority(t *testing.T) *brokertest.Authority {
	t.Helper()
	a, err := brokertest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func writeCA(t *testing.T, a *brokertest.Authority, dir string) (caFile string) {
	t.Helper()
	caFile, err := a.WriteCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	return caFile
}

func writeCert(t *testing.T, a *brokertest.Authority, dir string) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile, err := a.WriteCert(dir, "client")
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// serverTLS is the configuration of a broker; with clients it asks for certificates of the authority.
func serverTLS(t *testing.T, a *brokertest.Authority, name string, clients bool) *tls.Config {
	t.Helper()
	cert, key, err := a.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	if clients {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(a.Cert())
	}
	return config
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
			broker := Broker{URL: "mqtts://broker.test", CAFile: writeCA(t, trusted, dir)}
			if test.clientCert {
				broker.CertFile, broker.KeyFile = writeCert(t, ca, dir)
			}
			dial := serveTLS(t, serverTLS(t, ca, test.serverName, test.clientCerts))
			link, err := openLink(t.Context(), broker, dial, "client", nil)
			if err == nil {
				link.close(true)
			}
			var coded *contract.Error
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

func TestCertificatesAreReadAgainAtEveryAttempt(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		f := newFakeBroker(goodBroker)
		f.tls = serverTLS(t, ca, "broker.test", false)
		defer f.close()
		c := newTestClient(t, f)
		c.config.Broker = Broker{URL: "mqtts://broker.test", CAFile: filepath.Join(dir, "ca.pem")}
		stop := start(c)
		defer stop()
		synctest.Wait()
		if c.Status().Connected {
			t.Fatal("connected without the CA file")
		}
		writeCA(t, ca, dir)
		time.Sleep(time.Minute) // of the bubble's time
		if s := c.Status(); !s.Connected {
			t.Errorf("Status %+v", s)
		}
	})
}

// The certificates of broker and agent are replaced, by those of another authority even, while
// the agent runs.
func TestCertificatesAreRotated(t *testing.T) {
	t.Parallel()
	old, fresh, dir := newAuthority(t), newAuthority(t), t.TempDir()
	b := startBroker(t, brokertest.Options{Authority: old, ClientCerts: true, Username: "gate", Password: "secret"})
	broker := Broker{URL: b.URL(), CAFile: writeCA(t, old, dir), Username: "gate", PasswordFile: filepath.Join(dir, "password")}
	broker.CertFile, broker.KeyFile = writeCert(t, old, dir)
	if err := os.WriteFile(broker.PasswordFile, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, log := newRealClient(t, broker)
	defer start(c)()
	waitLine(t, log, "connected to the MQTT broker")

	b.Trust(fresh)
	restart(t, b)
	waitLine(t, log, "code=mqtt.tls") // each takes the other for a stranger
	writeCA(t, fresh, dir)
	writeCert(t, fresh, dir)
	waitLine(t, log, "connected to the MQTT broker")
}

func TestTLSWithARealBroker(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	b := startBroker(t, brokertest.Options{Authority: ca, ClientCerts: true})
	good := Broker{URL: b.URL(), CAFile: writeCA(t, ca, dir)}
	good.CertFile, good.KeyFile = writeCert(t, ca, dir)
	without := good
	without.CertFile, without.KeyFile = "", ""
	other := newAuthority(t)
	strange := good
	strange.CertFile, strange.KeyFile = writeCert(t, other, t.TempDir())
	wrong := good
	wrong.CAFile = writeCA(t, other, t.TempDir())
	for name, test := range map[string]struct {
		broker Broker
		code   string
	}{
		"good":                             {good, ""},
		"without a certificate":            {without, "mqtt.tls"},
		"certificate of another authority": {strange, "mqtt.tls"},
		"another authority is trusted":     {wrong, "mqtt.tls"},
		"without TLS":                      {Broker{URL: "mqtt://" + b.Addr()}, "mqtt.unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l, err := openLink(ctx, test.broker, (&net.Dialer{}).DialContext, "client", nil)
			if err == nil {
				l.close(true)
			}
			var coded *contract.Error
			if test.code == "" && err != nil || test.code != "" && (!errors.As(err, &coded) || coded.Code != test.code) {
				t.Errorf("err = %v", err)
			}
		})
	}
}
