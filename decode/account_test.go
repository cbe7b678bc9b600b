package decode

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/edge-agent/edge-agent/test/kit"
)

// folderOf makes a folder that everybody may enter, down from the root.
func folderOf(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, f := range []string{folder, filepath.Dir(folder)} {
		if err := os.Chmod(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func makeFile(t *testing.T, name string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// An account uses the files that their rights give it, and no others.
func TestReaches(t *testing.T) {
	folder := folderOf(t)
	me, mine := uint32(os.Getuid()), uint32(os.Getgid())
	const other = 65000
	closed := filepath.Join(folder, "closed", "file")
	makeFile(t, closed, 0o666)
	if err := os.Chmod(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(folder, "link")
	if err := os.Symlink(closed, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		need need
		who  account
		want string
	}{
		{"for all", need{path: makeFile(t, filepath.Join(folder, "all"), 0o666), rights: 6}, account{uid: other, gid: other}, ""},
		{"the owner's", need{path: makeFile(t, filepath.Join(folder, "own"), 0o600), rights: 6}, account{uid: me, gid: other}, ""},
		{"another's", need{path: makeFile(t, filepath.Join(folder, "private"), 0o600), rights: 4}, account{uid: other, gid: other}, "use "},
		{"the group's", need{path: makeFile(t, filepath.Join(folder, "group"), 0o060), rights: 6}, account{uid: other, gid: mine}, ""},
		{"a further group's", need{path: makeFile(t, filepath.Join(folder, "groups"), 0o060), rights: 6}, account{uid: other, gid: other, groups: []uint32{mine}}, ""},
		{"only to read", need{path: makeFile(t, filepath.Join(folder, "read"), 0o444), rights: 6}, account{uid: other, gid: other}, "use "},
		{"the group may not, all others may", need{path: makeFile(t, filepath.Join(folder, "odd"), 0o606), rights: 6}, account{uid: other, gid: mine}, "use "},
		{"a folder in the way", need{path: closed, rights: 4}, account{uid: other, gid: other}, "enter the folder "},
		{"a link to it", need{path: link, rights: 4}, account{uid: other, gid: other}, "enter the folder "},
		{"nothing there", need{path: filepath.Join(folder, "nothing"), rights: 4}, account{uid: other, gid: other}, ""},
	} {
		err := c.who.reaches(c.need)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// What a picture needs: the program, the devices, and the way to the display.
func TestNeeds(t *testing.T) {
	folder := folderOf(t)
	for _, name := range []string{"dri/card0", "dri/renderD128", "video10", "media0", "sda"} {
		makeFile(t, filepath.Join(folder, "dev", name), 0o660)
	}
	cookies := makeFile(t, filepath.Join(folder, "home", ".Xauthority"), 0o600)
	env := map[string]string{"DISPLAY": ":0", "HOME": filepath.Join(folder, "home"), "WAYLAND_DISPLAY": "wayland-1", "XDG_RUNTIME_DIR": "/run/user/7"}
	var got []string
	for _, n := range needs("/opt/renderer", filepath.Join(folder, "dev"), func(name string) string { return env[name] }) {
		got = append(got, strings.TrimPrefix(n.path, folder)+" "+string('0'+rune(n.rights)))
	}
	slices.Sort(got)
	want := []string{
		"/dev/dri/card0 6", "/dev/dri/renderD128 6", "/dev/media0 6", "/dev/video10 6", "/home/.Xauthority 4", "/opt/renderer 1", "/run/user/7/wayland-1 2",
	}
	kit.Expect(t, "needs", strings.Join(got, "\n"), strings.Join(want, "\n"))
	env["LIBVA_DRIVERS_PATH"], env["GST_PLUGIN_PATH"] = "/opt/va", "relative:"
	env["XAUTHORITY"] = makeFile(t, filepath.Join(folder, "cookies"), 0o600)
	all := needs("/opt/renderer", folder, func(name string) string { return env[name] })
	if len(all) != 4 || all[1].path != "/opt/va" || all[2].path != env["XAUTHORITY"] || slices.ContainsFunc(all, func(n need) bool { return n.path == cookies }) {
		t.Errorf("%+v", all)
	}
}

// Who runs renderers gets the groups of devices, but not that of root.
func TestGroupsOfDevices(t *testing.T) {
	folder := folderOf(t)
	node := makeFile(t, filepath.Join(folder, "node"), 0o660)
	owner := func(path string) uint32 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Gid
	}
	if os.Getuid() == 0 {
		if err := os.Chown(node, 0, 4444); err != nil {
			t.Fatal(err)
		}
	}
	all := []need{
		{path: node, rights: 6, device: true},
		{path: makeFile(t, filepath.Join(folder, "no-device"), 0o660), rights: 6},
		{path: makeFile(t, filepath.Join(folder, "only-read"), 0o640), rights: 6, device: true},
	}
	want := []uint32{owner(node)}
	if want[0] == 0 {
		want = nil
	}
	if got := groupsOf(all); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// Where root runs the agent, renderers have another user, unless that one could show nothing or root is asked for.
func TestRendererAccount(t *testing.T) {
	folder := folderOf(t)
	private := []need{{path: makeFile(t, filepath.Join(folder, "private"), 0o600), rights: 6, device: true}}
	if os.Getuid() != 0 {
		if a, why := (Sandbox{}).rendererAccount(private); a != nil || why != "" {
			t.Errorf("%+v, %q", a, why)
		}
		return
	}
	for _, c := range []struct {
		what    string
		sandbox Sandbox
		needs   []need
		name    string
		why     string
	}{
		{"nothing is asked for", Sandbox{}, nil, "nobody", ""},
		{"a user", Sandbox{User: "daemon"}, nil, "daemon", ""},
		{"root", Sandbox{User: "root"}, private, "", ""},
		{"no sandbox", Sandbox{Off: true}, nil, "", ""},
		{"a user that cannot open a device", Sandbox{}, private, "", "the user nobody may not use " + private[0].path + ", so the renderer runs as root"},
		{"a user that does not exist", Sandbox{User: "nobody-here"}, nil, "", "there is no user nobody-here, so the renderer runs as root"},
	} {
		a, why := c.sandbox.rendererAccount(c.needs)
		name := ""
		if a != nil {
			name = a.name
		}
		if name != c.name || why != c.why {
			t.Errorf("%s: %q, %q", c.what, name, why)
		}
	}
}

func TestChildEnvironment(t *testing.T) {
	all := []string{
		"PATH=/bin", "HOME=/root", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_CONTAINER_AUTHORIZATION_TOKEN=x", "NOTIFY_SOCKET=/run/x",
		"CREDENTIALS_DIRECTORY=/run/c", "SSH_AUTH_SOCK=/x", "DBUS_SESSION_BUS_ADDRESS=x", "DISPLAY=:0", "LC_ALL=C", "LIBVA_DRIVER_NAME=iHD", "GST_DEBUG=3", "VENDOR=1",
		"MQTT_PASSWORD=x", "G_DEBUG=x", "https_proxy=http://user:x@proxy", "EDGE_AGENT_AWS_SECRET=x",
	}
	kit.Expect(t, "environment", strings.Join(childEnvironment(all, Sandbox{}), " "), "PATH=/bin HOME=/root DISPLAY=:0 LC_ALL=C LIBVA_DRIVER_NAME=iHD GST_DEBUG=3 G_DEBUG=x")
	got := childEnvironment([]string{"A=1", "VENDOR=1"}, Sandbox{Env: []string{"VENDOR"}, Paths: []string{"/dev/a", "/dev/b"}})
	kit.Expect(t, "more", strings.Join(got, " "), "VENDOR=1 EDGE_AGENT_SANDBOX_PATHS=/dev/a:/dev/b")
	kit.Expect(t, "off", strings.Join(childEnvironment([]string{"AWS_ACCESS_KEY_ID=x"}, Sandbox{Off: true}), " "), "EDGE_AGENT_SANDBOX=off")
}
