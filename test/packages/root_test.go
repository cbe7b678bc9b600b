//go:build packages

// Package packages installs the Debian package in fresh roots of Debian, with systemd as process 1, and looks after it
// there as an administrator does: configure, start, upgrade, remove, purge.
//
// It needs root and debootstrap. A root of a release is made once, in /var/tmp/edge-agent-roots (TEST_EDGE_AGENT_ROOTS names
// another folder), from where this machine gets its own packages. RELEASE names the release.
package packages

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// release is the one of Debian to test with.
var release = cmp.Or(os.Getenv("RELEASE"), "bookworm")

// box is a Debian system in namespaces of its own.
type box struct {
	t      *testing.T // the step that runs
	whole  *testing.T // the test with all its steps, for which the box is
	base   string     // the root of the release, not written to
	folder string     // what the box writes
	init   int        // process 1, as this machine counts
	stop   func()     // cuts the power
	failed string     // what of the system itself does not work in a box
}

// newBox makes a box with some packages in /packages.
func newBox(t *testing.T, packages ...string) *box {
	t.Helper()
	needs(t, "debootstrap", "unshare", "nsenter", "pivot_root")
	if out, err := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("needs namespaces and mounts of its own, which this machine does not allow: %s", out)
	}
	roots := cmp.Or(os.Getenv("TEST_EDGE_AGENT_ROOTS"), "/var/tmp/edge-agent-roots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp(roots, "box-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	archives := filepath.Join(roots, release+"-archives")
	for _, made := range []string{filepath.Join(folder, "packages"), filepath.Join(archives, "partial")} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(folder, 0o755); err != nil { // the root of the box is in it
		t.Fatal(err)
	}
	if err := os.Symlink(archives, filepath.Join(folder, "archives")); err != nil {
		t.Fatal(err)
	}
	for _, file := range packages {
		copyFile(t, file, filepath.Join(folder, "packages", filepath.Base(file)))
	}
	return &box{t: t, whole: t, base: baseRoot(t, filepath.Join(roots, release)), folder: folder}
}

// needs skips a test where something is not there.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a system of its own")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s, which is not installed", program)
		}
	}
}

// baseRoot makes the root of the release, if it is not there yet: Debian's smallest system with systemd, and a broker.
func baseRoot(t *testing.T, root string) string {
	t.Helper()
	complete := filepath.Join(root, "etc", "edge-agent-complete")
	if _, err := os.Stat(complete); err == nil {
		return root
	}
	t.Logf("making a root of %s in %s, once", release, root)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	mirror := debianMirror(t)
	command(t, "debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,ca-certificates", release, root, mirror)
	write(t, filepath.Join(root, "etc/apt/sources.list"), fmt.Sprintf("deb %s %s main\n", mirror, release))
	write(t, filepath.Join(root, "etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n") // a test loses nothing with the power
	write(t, filepath.Join(root, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n")
	if err := os.Chmod(filepath.Join(root, "usr/sbin/policy-rc.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-q", "-y", "--no-install-recommends", "mosquitto", "mosquitto-clients")
	if err := os.Remove(filepath.Join(root, "usr/sbin/policy-rc.d")); err != nil {
		t.Fatal(err)
	}
	write(t, complete, "")
	return root
}

// debianMirror is where this machine gets the packages of Debian from. Its proxy, if there is one, comes with it.
func debianMirror(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(command(t, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(SUITE)|$(REPO_URI)", "Created-By: Packages")) {
		if field := strings.Split(strings.TrimSpace(line), "|"); field[0] == "Debian" && !strings.Contains(field[1], "security") {
			return strings.TrimSuffix(field[2], "/")
		}
	}
	t.Skip("apt of this machine knows no mirror of Debian, or has never been updated (apt-get update)")
	return ""
}

// proxy is the environment of what downloads.
func proxy() []string {
	out, _ := exec.Command("sh", "-c", `eval "$(apt-config shell p Acquire::http::Proxy)"; echo "$p"`).Output()
	if p := strings.TrimSpace(string(out)); p != "" && p != "DIRECT" {
		return append(os.Environ(), "http_proxy="+p)
	}
	return os.Environ()
}

// online runs a script in the box before it is started, with the network of this machine: to download.
func (b *box) online(script string) string {
	b.t.Helper()
	copyFile(b.t, "/etc/resolv.conf", filepath.Join(b.folder, "packages", "resolv.conf"))
	return command(b.t, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "./box", b.base, b.folder, "-",
		"sh", "-ec", "rm -f /etc/resolv.conf; cp /packages/resolv.conf /etc/resolv.conf\n"+script)
}

// boot starts systemd as process 1 of the box, on a network of its own that leads nowhere.
func (b *box) boot() {
	b.t.Helper()
	group := filepath.Base(b.folder)
	log, err := os.Create(filepath.Join(b.folder, "console"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child", "./box", b.base, b.folder, group,
		"/lib/systemd/systemd", "--log-target=journal", "--show-status=no")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // a test that is stopped leaves no system behind
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		await(b.t, "the end of the box", func() (bool, string) { return removeGroup(group), "its control group is in use" })
	})
	b.whole.Cleanup(b.stop)
	await(b.t, "process 1", func() (bool, string) {
		out, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		b.init, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", b.init))
		console, _ := os.ReadFile(log.Name())
		return string(name) == "systemd\n", string(console)
	})
	await(b.t, "a running system", func() (bool, string) {
		out, err := b.try("systemctl is-system-running || true; systemctl list-jobs --no-legend; systemctl list-units --failed --plain --no-legend")
		state, rest, _ := strings.Cut(out, "\n")
		b.failed = strings.TrimSpace(rest)
		return err == nil && (state == "running" || state == "degraded"), out
	})
}

// try runs a script in the box that was started.
func (b *box) try(script string) (string, error) {
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(b.init), "--all", "env", "-i", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try that has to succeed.
func (b *box) run(script string) string {
	b.t.Helper()
	out, err := b.try(script)
	if err != nil {
		b.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// says is run whose output is known.
func (b *box) says(script, want string) {
	b.t.Helper()
	if out, _ := b.try(script); strings.TrimSpace(out) != want {
		b.t.Errorf("%s\nsays %q, want %q", script, strings.TrimSpace(out), want)
	}
}

// removeGroup removes a control group with all below it. It says whether that is done.
func removeGroup(name string) bool {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		field := strings.Fields(line)
		if field[2] != "cgroup2" {
			continue
		}
		var folders []string
		filepath.WalkDir(filepath.Join(field[1], name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		for _, folder := range slices.Backward(folders) {
			if err := os.Remove(folder); err != nil {
				return false
			}
		}
	}
	return true
}

// patience is for what takes long on a busy machine.
const patience = 90 * time.Second

// await looks until something is so. The text says how it is instead.
func await(t *testing.T, what string, look func() (bool, string)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		ok, how := look()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s: %s", patience, what, how)
		}
	}
}

// command runs a program that has to succeed, and returns what it prints.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = proxy()
	var stdout, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &tee{&stdout, &all}, &all
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, all.String())
	}
	return stdout.String()
}

// tee writes to two buffers.
type tee struct{ a, b *bytes.Buffer }

func (w *tee) Write(p []byte) (int, error) {
	w.a.Write(p)
	return w.b.Write(p)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
