package decode

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/edge-agent/edge-agent/decode/system"
)

// Sandbox says what renderer processes may have besides what all of them need; see package gst/sandbox.
type Sandbox struct {
	Off   bool     // leave them what the agent has, but for its secrets
	User  string   // that they run as when the agent is root; "": rendererUser if there is one, else nobody
	Env   []string // names of further environment variables
	Paths []string // further files and folders that they may read and write, such as device nodes
}

// rendererUser is the user that a package makes for renderers of an agent that is root.
const rendererUser = "edge-agent-renderer"

// account is who a renderer process runs as.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32
}

// rendererAccount chooses the account of the renderers of an agent that is root: nil for the agent's own. why says what
// the user that was to be used cannot reach, in which case a picture matters more.
func (s Sandbox) rendererAccount(needed []need) (a *account, why string) {
	if s.Off || os.Geteuid() != 0 {
		return nil, ""
	}
	names := []string{rendererUser, "nobody"}
	if s.User != "" {
		names = []string{s.User}
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		a = accountOf(u)
		if a.uid == 0 {
			return nil, ""
		}
		a.groups = append(a.groups, groupsOf(needed)...)
		for _, n := range needed {
			if err := a.reaches(n); err != nil {
				return nil, fmt.Sprintf("the user %s may not %v, so the renderer runs as root", name, err)
			}
		}
		return a, ""
	}
	return nil, fmt.Sprintf("there is no user %s, so the renderer runs as root", strings.Join(names, " or "))
}

func accountOf(u *user.User) *account {
	number := func(text string) uint32 {
		n, _ := strconv.ParseUint(text, 10, 32)
		return uint32(n)
	}
	a := &account{name: u.Username, uid: number(u.Uid), gid: number(u.Gid)}
	groups, _ := u.GroupIds() // what is missing shows when something cannot be reached
	for _, g := range groups {
		a.groups = append(a.groups, number(g))
	}
	return a
}

// need is a file that a renderer has to be able to use, with the rights of a mode: 4 to read, 2 to write, 1 to execute.
type need struct {
	path   string
	rights fs.FileMode
	device bool // whoever runs renderers is given its group
	open   bool // the agent has it open: no folder on the way to it matters
}

// needs are the files without which there is no picture: the program, libraries at places of their own, the devices,
// and how to reach the display.
func needs(program, dev string, getenv func(string) string) (all []need) {
	all = append(all, need{path: program, rights: 1, open: true})
	for _, name := range []string{"LD_LIBRARY_PATH", "LD_PRELOAD", "LIBVA_DRIVERS_PATH", "GST_PLUGIN_PATH", "GST_PLUGIN_PATH_1_0"} {
		for _, path := range filepath.SplitList(getenv(name)) {
			if filepath.IsAbs(path) {
				all = append(all, need{path: path, rights: 4})
			}
		}
	}
	for _, pattern := range append(slices.Clone(devicePatterns), "dri/card*") {
		nodes, _ := filepath.Glob(filepath.Join(dev, pattern))
		for _, node := range nodes {
			all = append(all, need{path: node, rights: 6, device: true})
		}
	}
	if getenv("DISPLAY") != "" {
		cookies := cmp.Or(getenv("XAUTHORITY"), filepath.Join(getenv("HOME"), ".Xauthority"))
		if _, err := os.Stat(cookies); err == nil {
			all = append(all, need{path: cookies, rights: 4})
		}
	}
	if name := getenv("WAYLAND_DISPLAY"); name != "" {
		if !filepath.IsAbs(name) {
			name = filepath.Join(getenv("XDG_RUNTIME_DIR"), name)
		}
		all = append(all, need{path: name, rights: 2})
	}
	return all
}

// groupsOf are the groups of devices. That of root is none to give away.
func groupsOf(needed []need) (groups []uint32) {
	for _, n := range needed {
		if _, gid, mode, err := rightsOf(n.path); err == nil && n.device && gid != 0 && mode>>3&n.rights == n.rights {
			groups = append(groups, gid)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// rightsOf gives who owns a file, and what they and others may do with it.
func rightsOf(path string) (uid, gid uint32, mode fs.FileMode, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, 0, err
	}
	uid, gid = system.OwnerOf(info)
	return uid, gid, info.Mode().Perm(), nil
}

// reaches says what keeps an account from a file: the rights of the file, or of a folder on the way there. It knows
// nothing of access lists, which show as rights of the group.
func (a *account) reaches(n need) error {
	path, err := filepath.EvalSymlinks(n.path)
	if err != nil {
		return nil // it is not there: nobody needs it
	}
	for folder := filepath.Dir(path); !n.open; folder = filepath.Dir(folder) {
		if !a.may(folder, 1) {
			return fmt.Errorf("enter the folder %s, which leads to %s", folder, n.path)
		}
		if folder == "/" {
			break
		}
	}
	if !a.may(path, n.rights) {
		return fmt.Errorf("use %s", n.path)
	}
	return nil
}

func (a *account) may(path string, rights fs.FileMode) bool {
	uid, gid, mode, err := rightsOf(path)
	switch {
	case err != nil:
		return false
	case uid == a.uid:
		mode >>= 6
	case gid == a.gid || slices.Contains(a.groups, gid):
		mode >>= 3
	}
	return mode&rights == rights
}

// cacheRoot is where renderers of another user than the agent's keep what GStreamer knows of its plugins, which takes
// seconds to find out. systemd names it.
func cacheRoot(getenv func(string) string) string {
	return cmp.Or(getenv("CACHE_DIRECTORY"), "/var/cache/edge-agent")
}

// home makes a folder for what an account's processes keep, and returns the environment that leads them there. Without
// it they keep nothing.
func (a *account) home(root string) []string {
	folder := filepath.Join(root, "renderer")
	if os.MkdirAll(root, 0o755) != nil || os.MkdirAll(folder, 0o700) != nil || os.Lchown(folder, int(a.uid), int(a.gid)) != nil {
		folder = "/nonexistent"
	}
	return []string{"HOME=" + folder, "XDG_CACHE_HOME=" + folder, "USER=" + a.name, "LOGNAME=" + a.name}
}
