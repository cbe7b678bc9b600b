package brokertest

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, options Options) *Broker {
	t.Helper()
	b, err := Start(t.Context(), options)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Start and Restart return once the broker has accepted a client, so there is
// nothing to add about readiness.
func TestLife(t *testing.T) {
	b := start(t, Options{Username: "gate", Password: "secret"})
	addr, pid := b.Addr(), b.process.cmd.Process.Pid
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.Addr() != addr || b.process.cmd.Process.Pid == pid {
		t.Errorf("restarted from %s, pid %d to %s, pid %d", addr, pid, b.Addr(), b.process.cmd.Process.Pid)
	}
	for range 2 {
		if err := b.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the port is still open after Stop")
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there after Stop: %v", err)
	}
}

func TestOnlyTheRightPasswordLetsIn(t *testing.T) {
	b := start(t, Options{Username: "gate", Password: "secret"})
	defer b.Stop()
	b.options.Password = "other"
	if err := b.tryConnect(t.Context()); err == nil {
		t.Error("a wrong password is let in")
	}
}

func TestATakenPortIsNotTakenForOurs(t *testing.T) {
	first := start(t, Options{})
	defer first.Stop()
	second := start(t, Options{Username: "gate", Password: "secret"})
	defer second.Stop()
	second.port = first.port
	if err := second.Restart(t.Context()); err == nil {
		t.Error("a broker that cannot have its port is called ready")
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	start(t, Options{}).Stop() // skips when not installed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestNotInstalled(t *testing.T) {
	if _, err := find("no-such-program", "/no/such/program"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("err = %v", err)
	}
}

// What a proxy forwards arrives; stalled, nothing does and nobody is told; cut, both ends are.
func TestProxy(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	p, err := NewProxy(target.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	connect := func() (near, far net.Conn) {
		t.Helper()
		near, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if far, err = target.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { near.Close(); far.Close() })
		return near, far
	}
	pass := func(from, to net.Conn) error {
		t.Helper()
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(replyTimeout))
		_, err := to.Read(make([]byte, 1))
		return err
	}
	near, far := connect()
	if err := errors.Join(pass(near, far), pass(far, near)); err != nil {
		t.Error(err)
	}
	p.Stall()
	if err1, err2 := pass(near, far), pass(far, near); !errors.Is(err1, os.ErrDeadlineExceeded) || !errors.Is(err2, os.ErrDeadlineExceeded) {
		t.Errorf("stalled: %v, %v", err1, err2)
	}
	later, itsFar := connect()
	if err := pass(later, itsFar); err != nil {
		t.Error(err)
	}
	p.Cut()
	for _, end := range []net.Conn{near, far, later, itsFar} {
		end.SetReadDeadline(time.Now().Add(replyTimeout))
		if _, err := end.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut: %v", err)
		}
	}
	p.CutAfter(3)
	near, far = connect()
	if err := errors.Join(pass(near, far), pass(far, near), pass(near, far)); err != nil {
		t.Errorf("before the last byte: %v", err)
	}
	far.SetReadDeadline(time.Now().Add(replyTimeout))
	if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("behind the last byte: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
