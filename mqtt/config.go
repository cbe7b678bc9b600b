package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Config is what a Client needs to know.
type Config struct {
	Broker   Broker
	Profile  Profile // what the broker is; "" means Standard
	Prefix   string  // "" means DefaultPrefix
	AgentID  string
	StateDir string       // a folder for what outlives the agent, events.db and events.count; "" means nothing does
	Shadow   *Shadow      // nil means that no device shadow is kept
	Control  *Control     // nil means that commands are not even listened to
	Logger   *slog.Logger // nil means slog.Default()

	HomeAssistant *HomeAssistant // nil: it is told nothing, and what an earlier run told it is taken back
}

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

// check finds what can be known to be wrong without connecting.
func (b Broker) check() (address, error) {
	addr, err := parseAddress(b.URL)
	switch {
	case err != nil:
		return address{}, configError("broker: %w", err)
	case !addr.tls && !b.AllowPlaintext && !isLoopback(addr.host):
		return address{}, configError("broker: mqtt:// to %s would send everything in the clear; use mqtts://, or set allow_plaintext = true", addr.host)
	case !addr.tls && (b.CAFile != "" || b.CertFile != "" || b.KeyFile != ""):
		return address{}, configError("broker: certificate files are set but mqtt:// does not use them; use mqtts://")
	case (b.CertFile == "") != (b.KeyFile == ""):
		return address{}, configError("cert_file and key_file are only of use together")
	case b.PasswordFile != "" && b.Username == "":
		return address{}, configError("password_file is set but username is not")
	}
	if b.ClientID == "" {
		return addr, nil
	}
	if err := ValidClientID(b.ClientID); err != nil {
		return address{}, configError("client_id %q cannot be used: %w", b.ClientID, err)
	}
	return addr, nil
}

func parseAddress(raw string) (address, error) {
	if raw == "" {
		return address{}, errors.New("it is empty; give mqtt://HOST or mqtts://HOST")
	}
	u, err := url.Parse(raw)
	if err != nil { // its text would repeat the URL and with it a password
		return address{}, errors.New("it is not a URL; give mqtt://HOST or mqtts://HOST")
	}
	if u.User != nil {
		return address{}, errors.New("user and password do not belong into the URL; use username and password_file")
	}
	defaultPorts := map[string]string{"mqtt": "1883", "mqtts": "8883"}
	port, ok := defaultPorts[u.Scheme]
	if !ok {
		return address{}, fmt.Errorf("%q must begin with mqtt:// or mqtts://", raw)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return address{}, fmt.Errorf("%q must be %s://HOST or %s://HOST:PORT", raw, u.Scheme, u.Scheme)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return address{host: u.Hostname(), port: port, tls: u.Scheme == "mqtts"}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// password reads the password; "" when none is configured.
func (b Broker) password() (string, error) {
	if b.PasswordFile == "" {
		return "", nil
	}
	text, err := readTextFile(credential(b.PasswordFile))
	if err != nil {
		return "", configError("password_file: %w", err)
	}
	return firstLine(text), nil
}

// credential is the path of a secret. systemd hands secrets over in a folder that only
// the service can read (LoadCredential= in the unit).
func credential(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || strings.ContainsRune(name, filepath.Separator) {
		return name
	}
	return filepath.Join(dir, name)
}

// tlsConfig reads the certificate files.
func (b Broker) tlsConfig(addr address) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: addr.host}
	if addr.port == "443" {
		config.NextProtos = []string{"x-amzn-mqtt-ca"} // AWS IoT Core tells MQTT from HTTPS by it
	}
	if b.CAFile != "" {
		pem, err := readTextFile(b.CAFile)
		if err != nil {
			return nil, tlsError("ca_file", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, tlsError("ca_file", fmt.Errorf("%s holds no PEM certificate", b.CAFile))
		}
	}
	if b.CertFile != "" {
		pair, err := keyPair(b.CertFile, credential(b.KeyFile))
		if err != nil {
			return nil, tlsError("cert_file and key_file", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// keyPair is tls.LoadX509KeyPair for files that may begin with a byte order mark.
func keyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readTextFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readTextFile(keyFile)
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
	return &Error{Code: "mqtt.tls", Message: what, Err: err}
}
