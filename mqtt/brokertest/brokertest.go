// Package brokertest runs a real mosquitto on a loopback port, for tests and the
// demo. IoTCore is one that stands in for AWS IoT Core.
//
// In: Options. Out: a running Broker with an address to connect to. A Broker owns
// its process and a temporary folder; one goroutine waits for the process, which
// dies with the program that started it. Stop ends all three.
package brokertest

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// ErrNotInstalled means that there is no mosquitto on this machine.
var ErrNotInstalled = errors.New("mosquitto is not installed (Debian package mosquitto)")

const (
	readyTimeout = 10 * time.Second       // from starting mosquitto to its first CONNACK
	readyEvery   = 20 * time.Millisecond  // between attempts to connect
	replyTimeout = 500 * time.Millisecond // of one attempt
	stopTimeout  = 3 * time.Second        // from SIGTERM to SIGKILL
	portAttempts = 5                      // another program may take the port we chose
)

// Options say who may connect. Without a Username everybody may.
type Options struct {
	Username string
	Password string

	Authority   *Authority // has the broker speak TLS with a certificate of this authority for 127.0.0.1
	ClientCerts bool       // with Authority: clients need a certificate of it

	ClientIDPrefix string // of the client ids that are allowed

	Lines []string // more for mosquitto.conf
}

// Broker is a mosquitto.
type Broker struct {
	options Options
	binary  string
	dir     string
	port    int
	process *process // nil while stopped
}

// Start runs mosquitto on a free loopback port and returns once it accepts
// clients. Without mosquitto the error is ErrNotInstalled.
func Start(ctx context.Context, options Options) (*Broker, error) {
	// /usr/sbin is not in everybody's PATH.
	binary, err := find("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "edge-agent-broker-")
	if err != nil {
		return nil, fmt.Errorf("brokertest: %w", err)
	}
	b := &Broker{options: options, binary: binary, dir: dir}
	for range portAttempts {
		if b.port, err = freePort(); err != nil {
			break
		}
		if err = b.Restart(ctx); err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	os.RemoveAll(dir)
	return nil, err
}

// find returns the first program that is there.
func find(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("brokertest: no free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Addr is the broker's host:port; it stays the same over Restart.
func (b *Broker) Addr() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// URL is the broker's mqtt:// or mqtts:// URL.
func (b *Broker) URL() string {
	if b.options.Authority != nil {
		return "mqtts://" + b.Addr()
	}
	return "mqtt://" + b.Addr()
}

// Trust has the broker use another authority from the next Restart on.
func (b *Broker) Trust(a *Authority) { b.options.Authority = a }

// Log is what mosquitto has written to its log.
func (b *Broker) Log() string {
	text, _ := os.ReadFile(b.path("log")) // not there yet: nothing written
	return string(text)
}

// Restart kills mosquitto, if it runs, and starts it again on the same port. It
// has forgotten everything, retained messages too.
func (b *Broker) Restart(ctx context.Context) error {
	b.Kill()
	if err := b.configure(); err != nil {
		return fmt.Errorf("brokertest: %w", err)
	}
	log, err := os.OpenFile(b.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("brokertest: %w", err)
	}
	defer log.Close() // mosquitto has its own copy
	p, err := startProcess(log, b.binary, "-c", b.path("conf"))
	if err != nil {
		return fmt.Errorf("brokertest: cannot start %s: %w", b.binary, err)
	}
	b.process = p
	if err := b.waitReady(ctx); err != nil {
		b.Kill()
		return err
	}
	return nil
}

func (b *Broker) path(name string) string { return filepath.Join(b.dir, name) }

// configure writes mosquitto's files.
func (b *Broker) configure() error {
	var conf strings.Builder
	fmt.Fprintf(&conf, "listener %d 127.0.0.1\npersistence false\nlog_type all\n", b.port)
	conf.WriteString("max_queued_messages 0\n") // or it drops what it has confirmed when a subscriber is 1000 behind
	if me, err := user.Current(); err == nil {  // as root it would become somebody who cannot read our folder
		fmt.Fprintf(&conf, "user %s\n", me.Username)
	}
	if b.options.Username == "" {
		conf.WriteString("allow_anonymous true\n")
	} else {
		fmt.Fprintf(&conf, "allow_anonymous false\npassword_file %s\n", b.path("passwords"))
		line, err := passwordLine(b.options.Username, b.options.Password)
		if err != nil {
			return err
		}
		if err := os.WriteFile(b.path("passwords"), []byte(line), 0o600); err != nil {
			return err
		}
	}
	if prefix := b.options.ClientIDPrefix; prefix != "" {
		fmt.Fprintf(&conf, "clientid_prefixes %s\n", prefix)
	}
	for _, line := range b.options.Lines {
		conf.WriteString(line + "\n")
	}
	if b.options.Authority != nil {
		if err := b.configureTLS(&conf); err != nil {
			return err
		}
	}
	return os.WriteFile(b.path("conf"), []byte(conf.String()), 0o600)
}

func (b *Broker) configureTLS(conf *strings.Builder) error {
	ca, err := b.options.Authority.WriteCA(b.dir)
	if err != nil {
		return err
	}
	cert, key, err := b.options.Authority.WriteCert(b.dir, "127.0.0.1")
	if err != nil {
		return err
	}
	fmt.Fprintf(conf, "cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate %t\n", ca, cert, key, b.options.ClientCerts)
	return nil
}

// passwordLine is a line of a mosquitto 2 password file: $7$ stands for PBKDF2 with SHA-512.
func passwordLine(username, password string) (string, error) {
	const iterations = 101
	salt := make([]byte, 12)
	rand.Read(salt)
	hash, err := pbkdf2.Key(sha512.New, password, salt, iterations, sha512.Size)
	if err != nil {
		return "", err
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:$7$%d$%s$%s\n", username, iterations, encode(salt), encode(hash)), nil
}

// waitReady connects until the broker lets us in.
func (b *Broker) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it did not answer within %s", readyTimeout))
	defer cancel()
	again := time.NewTicker(readyEvery)
	defer again.Stop()
	for {
		err := b.tryConnect(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-b.process.exited:
			return fmt.Errorf("brokertest: mosquitto on %s ended: %w\n%s", b.Addr(), b.process.err, b.Log())
		case <-ctx.Done():
			return fmt.Errorf("brokertest: mosquitto on %s: %w (%w)\n%s", b.Addr(), context.Cause(ctx), err, b.Log())
		}
	}
}

// tryConnect sends a CONNECT and expects a CONNACK that accepts it, from our
// broker: one that others started may have taken the port.
func (b *Broker) tryConnect(ctx context.Context) error {
	conn, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion = "MQTT", 4
	hello.ClientIdentifier, hello.CleanSession, hello.Keepalive = b.options.ClientIDPrefix+"ready-"+rand.Text(), true, 10
	if b.options.Username != "" {
		hello.UsernameFlag, hello.Username = true, b.options.Username
		hello.PasswordFlag, hello.Password = true, []byte(b.options.Password)
	}
	if err := hello.Write(conn); err != nil {
		return err
	}
	reply, err := packets.ReadPacket(conn)
	if err != nil {
		return err
	}
	ack, ok := reply.(*packets.ConnackPacket)
	if !ok || ack.ReturnCode != packets.Accepted {
		return fmt.Errorf("it answered CONNECT with %v", reply)
	}
	if !strings.Contains(b.Log(), hello.ClientIdentifier) { // mosquitto logs before it answers
		return errors.New("another broker answered")
	}
	return packets.NewControlPacket(packets.Disconnect).Write(conn)
}

// dial connects as a client would that has all it needs.
func (b *Broker) dial(ctx context.Context) (net.Conn, error) {
	plain := &net.Dialer{Timeout: replyTimeout}
	a := b.options.Authority
	if a == nil {
		return plain.DialContext(ctx, "tcp", b.Addr())
	}
	cert, key, err := a.Issue("ready")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	secure := &tls.Dialer{NetDialer: plain, Config: &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}}
	return secure.DialContext(ctx, "tcp", b.Addr())
}

// Kill ends mosquitto with SIGKILL, as a crash would. Restart brings it back.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Pause stops mosquitto in its tracks, with its connections open, until Resume.
func (b *Broker) Pause() error { return b.process.signal(pauseSignal) }

// Resume lets a paused mosquitto go on.
func (b *Broker) Resume() error { return b.process.signal(resumeSignal) }

// Stop ends mosquitto and removes its files. It may be called again.
func (b *Broker) Stop() error {
	b.end(syscall.SIGTERM)
	return os.RemoveAll(b.dir)
}

func (b *Broker) end(sig syscall.Signal) {
	if b.process == nil {
		return
	}
	b.process.end(sig)
	b.process = nil
}

// process is a running mosquitto.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how it ended, once exited is closed
}

// startProcess starts a program that the kernel kills when we die. The kernel
// takes the thread that started it for us, so that thread is kept to wait for it.
func startProcess(log *os.File, binary string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	bind(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	return p, <-started
}

func (p *process) signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// end sends a signal, SIGKILL if that does not help, and waits for the end.
func (p *process) end(sig syscall.Signal) {
	p.signal(sig) // fails only when it has already ended
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.signal(syscall.SIGKILL)
		<-p.exited
	}
}
