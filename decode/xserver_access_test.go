package decode

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/xserver"
)

// startXvfbWith runs an X server that lets in who shows the cookie, and gives its DISPLAY.
func startXvfbWith(t *testing.T, cookies string) string {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed (Debian package xvfb)")
	}
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	x := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset", "-auth", cookies)
	x.ExtraFiles = []*os.File{tell}
	x.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = x.Start()
	tell.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Process.Kill(); x.Wait() })
	line, err := bufio.NewReader(told).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb does not start: %v", err)
	}
	return ":" + strings.TrimSpace(line)
}

// A real X server refuses a client without its cookie, and lets in one that has it. That is known before a sink is opened, so
// that neither cable nor driver is blamed.
func TestAccessToAnXServer(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{8}, 16)
	server := startXvfbWith(t, write("server", cookieEntry(localFamily, host, "", cookieName, right)))
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	var hold display // as the renderer does
	defer hold.leaveX()
	for name, c := range map[string]struct {
		file string
		code string
		says string
	}{
		"no cookie":       {"", report.CodeNoAccess, "does not exist"},
		"no such file":    {filepath.Join(dir, "absent"), report.CodeNoAccess, "set XAUTHORITY"},
		"a wrong cookie":  {write("wrong", cookieEntry(localFamily, host, "", cookieName, wrong)), report.CodeNoAccess, "refuses access"},
		"of another host": {write("other", cookieEntry(localFamily, host+"x", "", cookieName, right)), report.CodeNoAccess, "refuses access"},
		"the cookie":      {write("right", cookieEntry(localFamily, host, server[1:], cookieName, right)), "", ""},
	} {
		env := map[string]string{"DISPLAY": server, "XAUTHORITY": c.file, "HOME": home}
		choice, err := plan.ChooseDisplay(plan.X11, "", plan.Surroundings{
			Getenv: func(key string) string { return env[key] }, XAccess: hold.xAccess, Found: []string{plan.X11.Element()},
		})
		var e *report.Error
		switch {
		case c.code == "" && (err != nil || choice.Display.Sink != plan.X11):
			t.Errorf("%s: %v", name, err)
		case c.code != "" && (!errors.As(err, &e) || e.Code != c.code || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
	}
	env := map[string]string{"HOME": home}
	if err := os.WriteFile(filepath.Join(home, ".Xauthority"), cookieEntry(wildFamily, "", "", cookieName, right), 0o600); err != nil {
		t.Fatal(err)
	}
	at, err := xserver.At(server, func(key string) string { return env[key] })
	var later display // one that does not remember that the same file was refused
	defer later.leaveX()
	if err == nil {
		err = later.xAccess(at)
	}
	if err != nil {
		t.Errorf("~/.Xauthority: %v", err)
	}
}

// Families of addresses in a file of cookies.
const (
	localFamily = 256
	wildFamily  = 65535
)

// cookieEntry is an entry of a cookie file.
func cookieEntry(family uint16, address, number, name string, cookie []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, family)
	for _, field := range [][]byte{[]byte(address), []byte(number), []byte(name), cookie} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
	}
	return b
}

const cookieName = "MIT-MAGIC-COOKIE-1"
