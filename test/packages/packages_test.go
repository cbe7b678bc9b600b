//go:build packages

package packages

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// newest is the package that make deb has built last for an architecture.
func newest(t *testing.T, arch string) string {
	t.Helper()
	files, _ := filepath.Glob("../../dist/edge-agent_*_" + arch + ".deb")
	if len(files) == 0 {
		t.Skipf("no package for %s in dist: make deb ARCH=%s", arch, arch)
	}
	return slices.MaxFunc(files, func(a, b string) int { return cmp.Compare(changed(t, a), changed(t, b)) })
}

func changed(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime().UnixNano()
}

// hostArch is Debian's name for the architecture of this machine.
func hostArch(t *testing.T) string {
	t.Helper()
	needs(t, "dpkg", "dpkg-deb")
	return strings.TrimSpace(command(t, "dpkg", "--print-architecture"))
}

// older makes a package as it could have been before this one: with a lower version and other defaults.
func older(t *testing.T, deb string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	command(t, "dpkg-deb", "-R", deb, tree)
	control := filepath.Join(tree, "DEBIAN/control")
	b, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	write(t, control, regexp.MustCompile(`(?m)^Version: .*$`).ReplaceAllString(string(b), "Version: 0~older-1"))
	config := filepath.Join(tree, "etc/edge-agent/config.toml")
	if b, err = os.ReadFile(config); err != nil {
		t.Fatal(err)
	}
	write(t, config, "# Defaults of an older version.\n"+string(b))
	old := filepath.Join(t.TempDir(), "older.deb")
	command(t, "dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, old)
	return old
}

// lintian finds nothing but what packaging/deb/lintian-overrides explains.
func TestLintian(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			needs(t, "lintian")
			if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", newest(t, arch)).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The licence text of everything that is linked into the programs, as the linker wrote it down, comes with them.
func TestLicences(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			tree := t.TempDir()
			command(t, "dpkg-deb", "-x", newest(t, arch), tree)
			texts := command(t, "zcat", filepath.Join(tree, "usr/share/doc/edge-agent/third-party-licences.txt.gz"))
			linked := regexp.MustCompile(`(?m)^\s+dep\s+(\S+)\s+(\S+)`)
			for program, least := range map[string]int{"usr/bin/edge-agent": 20, "usr/libexec/edge-agent/edge-agent-renderer": 5} {
				modules := linked.FindAllStringSubmatch(command(t, "go", "version", "-m", filepath.Join(tree, program)), -1)
				if len(modules) < least {
					t.Errorf("only %d modules are in %s", len(modules), program)
				}
				for _, m := range modules {
					if !strings.Contains(texts, "\n"+m[1]+" "+m[2]+", ") {
						t.Errorf("no licence text of %s %s, which is in %s", m[1], m[2], program)
					}
				}
			}
			for _, named := range []string{"GNU LESSER GENERAL PUBLIC LICENSE", "The Go standard library and runtime"} {
				if !strings.Contains(texts, named) {
					t.Errorf("no text of %s", named)
				}
			}
		})
	}
}

// The same source gives the same bytes in another folder, with other permissions for new files, in another time zone.
func TestTwoBuildsAreTheSame(t *testing.T) {
	arch := hostArch(t)
	deb := newest(t, arch)
	folder := t.TempDir()
	script := fmt.Sprintf(`cd ../..
export SOURCE_DATE_EPOCH=$(git log -1 --format=%%ct)
v=$(make -s --eval='show:; @echo $(VERSION) $(COMMIT)' show)
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C %[1]s
cd %[1]s && umask 077 && TZ=Asia/Tokyo make deb VERSION=${v%% *} COMMIT=${v#* }`, folder)
	command(t, "sh", "-ec", script)
	again, _ := filepath.Glob(filepath.Join(folder, "dist/*.deb"))
	if len(again) != 1 {
		t.Fatalf("built %v", again)
	}
	if out, err := exec.Command("cmp", deb, again[0]).CombinedOutput(); err != nil {
		t.Errorf("%s and a second build differ: %s", deb, out)
	}
}

// What is said about the unit holds with the systemd of the release.
func TestUnit(t *testing.T) {
	deb := newest(t, hostArch(t))
	b := newBox(t, deb)
	out := b.online("dpkg-deb -x /packages/" + filepath.Base(deb) + ` /
systemd-analyze security --offline=true /usr/lib/systemd/system/edge-agent.service
systemd-analyze verify /usr/lib/systemd/system/edge-agent.service 2>&1 | sed 's/^/verify: /'
mkdir -p /etc/systemd/system/edge-agent.service.d
cp /usr/share/edge-agent/kiosk.conf /usr/share/edge-agent/credentials.conf /etc/systemd/system/edge-agent.service.d/
systemd-analyze verify /usr/lib/systemd/system/edge-agent.service 2>&1 | sed 's/^/verify with drop-ins: /'
systemd-sysusers --dry-run edge-agent.conf
systemd-tmpfiles --dry-run --create edge-agent.conf 2>/dev/null || true
`)
	level := regexp.MustCompile(`Overall exposure level for edge-agent.service: ([0-9.]+)`).FindStringSubmatch(out)
	if level == nil {
		t.Fatalf("systemd-analyze gives no level:\n%s", out)
	}
	t.Logf("%s: exposure level %s", release, level[1])
	if exposure, err := strconv.ParseFloat(level[1], 64); err != nil || exposure > 1.7 {
		t.Errorf("exposure level %s, want at most 1.7:\n%s", level[1], out)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "verify") && strings.Contains(line, "edge-agent") {
			t.Error(line)
		}
	}
}

// The other architecture's programs run, as far as an emulator of the processor can show that.
func TestForeignArchitecture(t *testing.T) {
	needs(t, "qemu-aarch64-static", "dpkg-deb")
	tree := t.TempDir()
	command(t, "dpkg-deb", "-x", newest(t, "arm64"), tree)
	libraries, _ := filepath.Glob(filepath.Join(cmp.Or(os.Getenv("TEST_EDGE_AGENT_ROOTS"), "/var/tmp/edge-agent-roots"), "sysroot-arm64-*"))
	if len(libraries) == 0 {
		t.Skip("no libraries of arm64: make deb ARCH=arm64")
	}
	qemu := func(args ...string) string {
		return command(t, "qemu-aarch64-static", append([]string{"-L", libraries[0]}, args...)...)
	}
	agent := filepath.Join(tree, "usr/bin/edge-agent")
	version := qemu(agent, "version")
	if !strings.Contains(version, "linux/arm64") {
		t.Errorf("version: %s", version)
	}
	renderer := strings.Fields(qemu(filepath.Join(tree, "usr/libexec/edge-agent/edge-agent-renderer"), "--version"))
	build := regexp.MustCompile(`^edge-agent (\S+) \(commit (\w+),`).FindStringSubmatch(version)
	if build == nil || len(renderer) != 2 || renderer[1] != build[1]+"+"+build[2] {
		t.Errorf("the renderer is of the build %q, the agent %q", renderer, version)
	}
	clip := "../../ingest/kvstest/clip/clock.h264.mkv"
	native := command(t, "go", "run", "../../cmd/edge-agent", "inspect", "--json", clip)
	if emulated := qemu(agent, "inspect", "--json", clip); emulated != native || native == "" {
		t.Errorf("inspect prints on arm64\n%s\nand here\n%s", emulated, native)
	}
	if got := qemu(agent, "config", "check", "--config", "../../config.toml"); got != "../../config.toml is valid; streams: 0\n" {
		t.Errorf("config check: %s", got)
	}
	// The emulator starts no other program of that processor, so that there is no renderer: check has to say that.
	out, err := exec.Command("qemu-aarch64-static", agent, "check", "--json", "--config", "../../config.toml", "--socket", filepath.Join(tree, "s")).CombinedOutput()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("check: %v", err)
	}
	for _, want := range []string{`{"check":"configuration","result":"ok"`, `{"check":"renderer","result":"problem","code":"decode.renderer"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("check lacks %s:\n%s", want, out)
		}
	}
}

// The package in a fresh system, from the first installation until nothing is left of it.
func TestLifecycle(t *testing.T) {
	deb := newest(t, hostArch(t))
	old := older(t, deb)
	b := newBox(t, old, deb)
	b.online(`apt-get update -q
apt-get install -q -y --download-only /packages/` + filepath.Base(deb))
	b.boot()
	if b.failed != "" {
		t.Logf("not running in the box: %s", b.failed)
	}
	l := lifecycle{b, "/packages/older.deb", "/packages/" + filepath.Base(deb)}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"install without recommended packages", l.bare},
		{"install", l.install},
		{"demo", l.demo},
		{"configure and start", l.start},
		{"reload", l.reload},
		{"configuration with a fault", l.fault},
		{"killed", l.killed},
		{"stuck", l.stuck},
		{"network outage", l.outage},
		{"power cut", l.reboot},
		{"upgrade", l.upgrade},
		{"upgrade of what was stopped", l.upgradeStopped},
		{"remove", l.remove},
		{"install again", l.installAgain},
		{"purge", l.purge},
	} {
		if !t.Run(step.name, func(t *testing.T) { b.t = t; step.run(t) }) {
			break // what follows stands on it
		}
	}
	b.t = t
}

// lifecycle are the steps of TestLifecycle. Each goes on where the one before it stopped.
type lifecycle struct {
	*box
	old, current string
}

const apt = "apt-get install -q -y --allow-downgrades -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "

// bare has only what the package depends on: everything starts, and the agent says what is missing.
func (l lifecycle) bare(t *testing.T) {
	l.run(apt + "--no-install-recommends " + l.current)
	l.says("dpkg-query -W -f '${db:Status-Status}' gstreamer1.0-libav 2>/dev/null || true", "not-installed")
	l.says("ldd /usr/libexec/edge-agent/edge-agent-renderer | grep 'not found' || true", "")
	l.run("/usr/libexec/edge-agent/edge-agent-renderer --version")
	if out, err := l.try("edge-agent probe"); !strings.Contains(out, "gstreamer1.0-libav") {
		t.Errorf("probe without GStreamer's plugins: %v\n%s", err, out)
	}
	l.run("apt-get purge -q -y edge-agent")
}

func (l lifecycle) install(t *testing.T) {
	out := l.run(apt + l.old)
	if !strings.Contains(out, "/etc/edge-agent/config.toml, then: systemctl enable --now edge-agent") {
		t.Errorf("the installation does not say what to do next:\n%s", out)
	}
	l.says("systemctl is-enabled edge-agent || true", "disabled")
	l.says("systemctl is-active edge-agent || true", "inactive")
	l.says("systemctl preset edge-agent; systemctl is-enabled edge-agent || true", "disabled")
	l.says("id -nG edge-agent | tr ' ' '\n' | sort | tr '\n' ' '", "audio edge-agent render video")
	l.says("getent passwd edge-agent | cut -d : -f 6-7", "/var/lib/edge-agent:/usr/sbin/nologin")
	l.says("stat -c '%U %G %a' /etc/edge-agent/config.toml /var/lib/edge-agent /usr/bin/edge-agent /usr/libexec/edge-agent/edge-agent-renderer",
		"root root 644\nedge-agent edge-agent 750\nroot root 755\nroot root 755")
	l.says("dpkg-query -W -f '${Conffiles}' edge-agent | cut -d ' ' -f 2", "/etc/edge-agent/config.toml")
	l.says("ldd /usr/libexec/edge-agent/edge-agent-renderer | grep 'not found' || true", "")
	version := l.run("edge-agent version")
	renderer := l.run("/usr/libexec/edge-agent/edge-agent-renderer --version")
	if build := strings.Fields(renderer); len(build) != 2 || !strings.HasPrefix(version, "edge-agent "+strings.Split(build[1], "+")[0]) {
		t.Errorf("agent %q and renderer %q", version, renderer)
	}
	l.run("dpkg --verify edge-agent")
	l.run("bash -n /usr/share/bash-completion/completions/edge-agent; head -n 1 /usr/share/zsh/vendor-completions/_edge-agent | grep -q '^#compdef edge-agent'")
	if probe := l.run("setpriv --reuid=edge-agent --regid=edge-agent --init-groups env HOME=/var/lib/edge-agent edge-agent probe"); !strings.Contains(probe, "avdec_h264") {
		t.Errorf("probe of the installed package:\n%s", probe)
	}
}

// demo shows the whole way with what the package brings, into a file as there is no display.
func (l lifecycle) demo(t *testing.T) {
	l.run("systemctl stop mosquitto; mkdir -p /root/demo; cd /root/demo; edge-agent demo --for 20s >log 2>&1 || { cat log; exit 1; }")
	l.says("head -c 4 /root/demo/demo-snapshot.png | tail -c 3", "PNG")
	l.run("systemctl start mosquitto")
}

func (l lifecycle) start(t *testing.T) {
	l.simulate()
	l.run(`printf 'secret\n' >/etc/edge-agent/mqtt-password
printf '[default]\naws_access_key_id = KVSTEST\naws_secret_access_key = kvstest-secret\n' >/etc/edge-agent/aws-credentials
chmod 600 /etc/edge-agent/mqtt-password /etc/edge-agent/aws-credentials
install -D -m 644 -t /etc/systemd/system/edge-agent.service.d /usr/share/edge-agent/credentials.conf /usr/share/edge-agent/kiosk.conf
cat >/etc/edge-agent/config.toml <<'CONFIG'
[agent]
id = "box"
[aws]
region = "us-east-1"
endpoint = "http://127.0.0.1:9000"
[mqtt]
broker = "mqtt://127.0.0.1"
username = "box"
password_file = "/run/credentials/edge-agent.service/mqtt-password"
telemetry_interval = "1s"
[display]
sink = "none"
[[streams]]
name = "clock"
stream_name = "clock"
start = "resume"
CONFIG
systemctl daemon-reload
systemctl enable --now edge-agent`)
	l.plays(t)
	l.confined(t)
	l.says("systemctl show -P Conflicts edge-agent | tr ' ' '\n' | grep getty", "getty@tty1.service")
}

// simulate starts what stands for Kinesis Video Streams.
func (l lifecycle) simulate() {
	l.t.Helper()
	l.run("systemd-run -q --unit=simulate edge-agent simulate --listen 127.0.0.1:9000")
}

// reboot cuts the power and starts the box again: the service comes by itself.
func (l lifecycle) reboot(t *testing.T) {
	l.stop()
	l.boot()
	l.simulate()
	l.says("systemctl is-active edge-agent", "active")
	l.plays(t)
	l.confined(t)
}

// plays waits until pictures are shown, as the broker says. With no display they are decoded all the same.
func (l lifecycle) plays(t *testing.T) {
	t.Helper()
	await(t, "the stream", func() (bool, string) {
		// -R: not what an agent before this one left at the broker.
		out, err := l.try("mosquitto_sub -h 127.0.0.1 -W 5 -R -C 1 -t edge-agent/v1/box/streams/clock/telemetry")
		var telemetry struct {
			Shown int `json:"shown_frames"`
		}
		if err == nil && json.Unmarshal([]byte(out), &telemetry) == nil && telemetry.Shown > 0 {
			return true, ""
		}
		journal, _ := l.try("systemctl status --no-pager edge-agent; journalctl -o cat -n 40 -u edge-agent")
		return false, out + journal
	})
}

// confined looks at what the kernel says of the service's processes.
func (l lifecycle) confined(t *testing.T) {
	t.Helper()
	processes := l.run(`cd /proc
for pid in $(cat /sys/fs/cgroup/system.slice/edge-agent.service/cgroup.procs); do
	status=$(cat $pid/status 2>/dev/null) || continue # a trial that has ended
	echo $(echo "$status" | sed -n 's/^\(Name\|Uid\|CapBnd\|NoNewPrivs\|Seccomp\|Seccomp_filters\):\s*//p')
done`)
	user := l.run("id -u edge-agent")
	line := regexp.MustCompile(fmt.Sprintf(`^(\S+) %[1]s %[1]s %[1]s %[1]s 0000000000000000 1 2 (\d+)$`, user))
	filters := map[string]int{}
	for process := range strings.Lines(processes) {
		is := line.FindStringSubmatch(strings.TrimSpace(process))
		if is == nil {
			t.Errorf("process %q; want the user %s, no capability, no new privileges, filters of system calls", process, user)
			continue
		}
		n, _ := strconv.Atoi(is[2])
		filters[is[1]] = max(filters[is[1]], n)
	}
	if agent, renderer := filters["edge-agent"], filters["edge-agent-rend"]; agent == 0 || renderer <= agent {
		t.Errorf("filters of system calls: %v; want those of the unit, and one more of the renderer's own", filters)
	}
	journal := l.run("journalctl -o cat -u edge-agent")
	for _, code := range []string{"decode.sandbox", "storage.", "decode.access"} {
		if strings.Contains(journal, code) {
			t.Errorf("the service reports %s:\n%s", code, journal)
		}
	}
	if strings.Contains(journal, "kvstest-secret") {
		t.Error("a secret is in the journal")
	}
	l.says("cd /var/cache/edge-agent; ls -d gstreamer-1.0", "gstreamer-1.0")
	l.says("stat -c '%U %a' /run/edge-agent /var/lib/edge-agent /var/cache/edge-agent", "edge-agent 750\nedge-agent 750\nedge-agent 750")
}

func (l lifecycle) reload(t *testing.T) {
	pid := l.run("systemctl show -P MainPID edge-agent")
	l.run(`sed -i 's/^telemetry_interval = .*/telemetry_interval = "2s"/' /etc/edge-agent/config.toml
systemctl reload edge-agent`)
	await(t, "the reload", func() (bool, string) {
		out := l.run("journalctl -o cat -u edge-agent")
		return strings.Contains(out, "configuration was reloaded"), out
	})
	l.says("systemctl show -P MainPID edge-agent", pid)
}

// fault has the service wait for a configuration that is valid, and tell what is wrong with this one.
func (l lifecycle) fault(t *testing.T) {
	l.run(`cp /etc/edge-agent/config.toml /root/valid.toml
sed -i 's/^sink = .*/sink = "nirvana"/' /etc/edge-agent/config.toml
systemctl restart edge-agent`)
	await(t, "a word about the fault", func() (bool, string) {
		out := l.run("journalctl -o cat -u edge-agent")
		return strings.Contains(out, "config.invalid") && strings.Contains(out, "nirvana"), out
	})
	l.says("systemctl is-active edge-agent", "active")
	l.run("cat /root/valid.toml >/etc/edge-agent/config.toml")
	l.plays(t)
}

// killed has the service come back whatever ends it, more often than systemd allows without being told.
func (l lifecycle) killed(t *testing.T) {
	for range 6 {
		before := l.run("systemctl show -P MainPID edge-agent")
		l.run("systemctl kill --signal=KILL edge-agent")
		await(t, "the restart", func() (bool, string) {
			out := l.run("systemctl show -P MainPID edge-agent; systemctl is-active edge-agent || true")
			pid, state, _ := strings.Cut(out, "\n")
			return pid != "0" && pid != before && state == "active", out
		})
	}
	l.plays(t)
}

func (l lifecycle) upgrade(t *testing.T) {
	pid, config := l.run("systemctl show -P MainPID edge-agent"), l.run("md5sum /etc/edge-agent/config.toml")
	out := l.run(apt + l.current)
	if strings.Contains(out, "to begin, write") {
		t.Errorf("an upgrade says how to begin:\n%s", out)
	}
	if now := l.run("systemctl show -P MainPID edge-agent"); now == pid {
		t.Error("the upgrade did not restart the service")
	}
	l.says("md5sum /etc/edge-agent/config.toml", config)
	l.says("ls /etc/edge-agent", "aws-credentials\nconfig.toml\nconfig.toml.dpkg-dist\nmqtt-password")
	l.says("systemctl is-enabled edge-agent", "enabled")
	l.says("readlink /proc/$(systemctl show -P MainPID edge-agent)/exe", "/usr/bin/edge-agent")
	l.plays(t)
}

func (l lifecycle) upgradeStopped(t *testing.T) {
	l.run("systemctl disable --now edge-agent")
	l.run(apt + l.old + "; " + apt + l.current)
	l.says("systemctl is-enabled edge-agent || true; systemctl is-active edge-agent || true", "disabled\ninactive")
	l.run("systemctl enable --now edge-agent")
	l.plays(t)
}

func (l lifecycle) remove(t *testing.T) {
	l.run("apt-get remove -q -y edge-agent")
	l.says("systemctl is-active edge-agent || true", "inactive")
	l.says("pgrep -u edge-agent || true", "")
	l.says("ls /usr/bin/edge-agent /usr/libexec/edge-agent /usr/lib/systemd/system/edge-agent.service 2>/dev/null || true", "")
	l.says("ls /etc/edge-agent", "aws-credentials\nconfig.toml\nconfig.toml.dpkg-dist\nmqtt-password")
	if l.run("ls /var/lib/edge-agent") == "" {
		t.Error("removing deletes the state")
	}
}

// installAgain continues with the configuration and the state that were left.
func (l lifecycle) installAgain(t *testing.T) {
	l.run(apt + l.current)
	l.says("systemctl is-enabled edge-agent", "enabled")
	l.run("systemctl start edge-agent")
	l.plays(t)
}

func (l lifecycle) purge(t *testing.T) {
	l.run("apt-get purge -q -y edge-agent")
	l.says("ls -d /etc/edge-agent /var/lib/edge-agent /var/cache/edge-agent /run/edge-agent /usr/share/edge-agent /usr/share/doc/edge-agent /usr/libexec/edge-agent 2>/dev/null || true", "")
	l.says("find / -xdev -name '*edge-agent*' -not -path '/proc/*' -not -path '/packages/*' -not -path '/var/cache/apt/*' -not -path '/var/log/*' -not -path '/var/tmp/systemd-private-*' -not -path '/etc/edge-agent-complete'",
		"/etc/systemd/system/edge-agent.service.d")
	l.says("getent passwd edge-agent | cut -d : -f 1", "edge-agent")
	l.says("dpkg-query -W edge-agent 2>/dev/null || true", "")
	l.says("systemctl list-units --failed --plain --no-legend", l.failed)
}
