package mqtt

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// Broker says where the broker is and how to log in. The files are read again
// at every attempt to connect, so that passwords and certificates can be renewed
// under a running agent. PasswordFile and KeyFile without a slash are credentials of
// systemd: files in $CREDENTIALS_DIRECTORY, if that is set.
type Broker struct {
	URL            string // mqtt://host[:1883] or mqtts://host[:8883]
	ClientID       string // unique on the broker; with AWSIoT the thing's name; "": an agent is <prefix>-<agent id>, others make one up
	Username       string
	PasswordFile   string // its first line is the password; a byte order mark is ignored
	CAFile         string // PEM; "" means the system's
	CertFile       string // PEM, with KeyFile: the client's own certificate
	KeyFile        string
	AllowPlaintext bool // permits mqtt:// to other machines
}

// address is a checked Broker.URL.
type address struct {
	host, port string
	tls        bool
}

func (a address) String() string { return net.JoinHostPort(a.host, a.port) }

// Fault is a key of [mqtt] whose value cannot work.
type Fault struct {
	Key     string // such as broker or cert_file
	Message string // what is wrong, as it goes on after the key: "is empty"
	Action  string // what would do
}

// Faults finds what can be known to be wrong without connecting, at most one for each key. A user name or password in
// the URL is not repeated.
func (b Broker) Faults() []Fault {
	_, faults := b.examine()
	return faults
}

// check is examine for those who want to connect. The error is an *Error.
func (b Broker) check() (address, error) {
	addr, faults := b.examine()
	if len(faults) > 0 {
		f := faults[0]
		return address{}, contract.ConfigError("%s %s. %s", f.Key, f.Message, f.Action)
	}
	return addr, nil
}

func (b Broker) examine() (addr address, faults []Fault) {
	fault := func(key, message, action string) { faults = append(faults, Fault{key, message, action}) }
	if b.ClientID != "" {
		if err := ValidClientID(b.ClientID); err != nil {
			fault("client_id", fmt.Sprintf("= %q cannot be used: %v", b.ClientID, err), "Leave it empty, or use the id that the broker allows.")
		}
	}
	if b.PasswordFile != "" && b.Username == "" {
		fault("password_file", "is set but username is not", "Set username as well, or neither.")
	}
	const pair = "Set both for mutual TLS, or neither."
	switch {
	case b.CertFile != "" && b.KeyFile == "":
		fault("cert_file", "is set but key_file is not", pair)
	case b.KeyFile != "" && b.CertFile == "":
		fault("key_file", "is set but cert_file is not", pair)
	}
	addr, wrong := parseAddress(b.URL)
	switch {
	case wrong != nil:
		faults = append(faults, *wrong)
	case !addr.tls && (b.CAFile != "" || b.CertFile != "" || b.KeyFile != ""):
		fault("broker", "is mqtt://, without TLS, but ca_file, cert_file or key_file is set", "Write mqtts://, or remove the files.")
	case !addr.tls && !b.AllowPlaintext && !IsLoopback(addr.host):
		fault("broker", fmt.Sprintf("= %q would send everything in the clear to another machine", b.URL), "Write mqtts://, or set allow_plaintext = true.")
	}
	return addr, faults
}

// parseAddress reads the address of a broker. No valid one has an @: what does may hold a password and is not repeated.
func parseAddress(raw string) (address, *Fault) {
	const form = `Write "mqtts://host" or "mqtt://host", with :port where it is not 8883 or 1883.`
	fault := func(message, action string) (address, *Fault) { return address{}, &Fault{"broker", message, action} }
	u, err := url.Parse(raw)
	part := raw
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		part = raw[:i] // what follows may be secret
	}
	switch {
	case raw == "":
		return fault("is empty", form)
	case strings.Contains(raw, "@"):
		return fault("holds a user name or password", "Set username and password_file instead.")
	case err != nil || u.Hostname() == "":
		return fault("is no address of a broker", form)
	case u.Scheme != "mqtt" && u.Scheme != "mqtts":
		return fault(fmt.Sprintf("= %q has the unknown scheme %q", part, u.Scheme), form)
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(raw, "?#"):
		return fault(fmt.Sprintf("= %q goes on after the host", part), form)
	}
	port := map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme]
	return address{host: u.Hostname(), port: cmp.Or(u.Port(), port), tls: u.Scheme == "mqtts"}, nil
}

// IsLoopback says that a host is this machine.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// password reads the password; "" when none is configured.
func (b Broker) password() (string, error) {
	if b.PasswordFile == "" {
		return "", nil
	}
	text, err := secret.ReadFile(secret.Credential(b.PasswordFile))
	if err != nil {
		return "", contract.ConfigError("password_file: %w", err)
	}
	return secret.FirstLine(text), nil
}

// tlsConfig reads the certificate files.
func (b Broker) tlsConfig(addr address) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: addr.host}
	if addr.port == "443" {
		config.NextProtos = []string{"x-amzn-mqtt-ca"} // AWS IoT Core tells MQTT from HTTPS by it
	}
	if b.CAFile != "" {
		pem, err := secret.ReadFile(b.CAFile)
		if err != nil {
			return nil, tlsError("ca_file", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, tlsError("ca_file", fmt.Errorf("%s holds no PEM certificate", b.CAFile))
		}
	}
	if b.CertFile != "" {
		pair, err := keyPair(b.CertFile, secret.Credential(b.KeyFile))
		if err != nil {
			return nil, tlsError("cert_file and key_file", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// keyPair is tls.LoadX509KeyPair for files that may begin with a byte order mark.
func keyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := secret.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := secret.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// maxClientID is what AWS IoT Core takes. MQTT 3.1.1 promises no more than 23 characters; every broker we know takes
// this many.
const maxClientID = 128

// ValidClientID tells whether a client id can be used: 1 to 128 printable ASCII characters without spaces, '+' and '#',
// which brokers refuse because their rules put client ids into topic filters.
func ValidClientID(id string) error {
	if id == "" || len(id) > maxClientID {
		return fmt.Errorf("it has %d characters; 1 to %d are allowed", len(id), maxClientID)
	}
	for _, r := range id {
		if r <= ' ' || r >= 0x7F || r == '+' || r == '#' {
			return fmt.Errorf("%q is not allowed; use printable ASCII without spaces, '+' and '#'", r)
		}
	}
	return nil
}

func tlsError(what string, err error) error {
	return &contract.Error{Code: "mqtt.tls", Message: what, Err: err}
}
