package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// readable are the files and folders that libraries, drivers and GStreamer read, and the programs they start. Of /etc
// and /proc there is only what they read: passwords and other processes are there as well.
var readable = []string{
	"/usr", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store", "/run/opengl-driver",
	"/sys", "/run/udev",
	"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld-musl-*.path", "/etc/localtime", "/etc/drirc", "/etc/egl", "/etc/glvnd", "/etc/vulkan",
	"/etc/gbm", "/etc/OpenCL", "/etc/libva.conf", "/etc/nvidia", "/etc/nv_tegra_release", "/etc/asound.conf", "/etc/alsa",
	"/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/modules", "/proc/devices",
	"/proc/driver", "/proc/device-tree", "/proc/asound", "/proc/sys/kernel", "/proc/sys/vm",
}

// devices are those of decoders, graphics and memory that they share. A node that comes later is for the next renderer,
// except below these folders.
var devices = []string{
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm",
	"/dev/dri", "/dev/fb*", "/dev/udmabuf", "/dev/dma_heap", "/dev/ion", "/dev/video*", "/dev/media*", "/dev/v4l*", "/dev/cec*", "/dev/snd",
	"/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/nvgpu", "/dev/nvsciipc", "/dev/tegra*", "/dev/host1x*", "/dev/kfd", // NVIDIA, AMD
	"/dev/mali*", "/dev/pvr*", "/dev/kgsl*", "/dev/rga", "/dev/mpp_service", "/dev/vpu*", "/dev/hantro*", "/dev/mxc*", "/dev/galcore", // ARM boards
	"/dev/vchiq", "/dev/vcio", "/dev/vcsm*", "/dev/vc-mem", "/dev/rpivid*", "/dev/amvideo*", "/dev/amstream*",
}

// Variables that name further files and folders, with colons between several.
var (
	readableBy = []string{
		"GST_PLUGIN_PATH", "GST_PLUGIN_PATH_1_0", "GST_PLUGIN_SYSTEM_PATH", "GST_PLUGIN_SYSTEM_PATH_1_0", "GST_PLUGIN_SCANNER", "GST_PLUGIN_SCANNER_1_0",
		"GST_PRESET_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBVA_DRIVERS_PATH", "LIBGL_DRIVERS_PATH", "GBM_BACKENDS_PATH", "VDPAU_DRIVER_PATH",
		"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_DIRS", "__EGL_VENDOR_LIBRARY_FILENAMES", "XDG_DATA_DIRS", "XAUTHORITY",
	}
	writableBy = []string{"GST_DEBUG_DUMP_DOT_DIR", "GOCOVERDIR"}
)

const (
	read  = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSReadDir
	write = ll.AccessFSReadFile | ll.AccessFSReadDir | ll.AccessFSWriteFile | ll.AccessFSTruncate
	keep  = write | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile // in a folder: its own files
)

// restrictFiles leaves the process the files that it needs. Unix sockets are files too, where the kernel sees to that.
func (b box) restrictFiles() error {
	version, err := ll.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return errors.New("this kernel has no landlock, or it is not switched on (lsm=)")
	}
	rules := []landlock.Rule{
		landlock.PathAccess(ll.AccessFSReadDir, "/dev"), // GStreamer looks there whether its list of decoders is out of date
		allow(read, existing(readable)),
		allow(read, b.own()),
		allow(write|ll.AccessFSIoctlDev, existing(devices)),
		allow(keep|ll.AccessFSIoctlDev, b.paths),
		allow(keep, b.listed(writableBy)),
		allow(keep, b.caches()),
		allow(keep, b.debugLog()),
	}
	for _, socket := range b.sockets() {
		rules = append(rules, landlock.PathAccess(ll.AccessFSResolveUnix, socket).IgnoreIfMissing())
	}
	config := landlock.V9
	if port := tcpPort(b.getenv("DISPLAY")); port != 0 {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	if b.getenv("DISPLAY") != "" {
		config.Scoped &^= ll.ScopeAbstractUnixSocket // X clients try such a socket first, and only that when it is denied
	}
	return config.BestEffort().Restrict(rules...)
}

// allow is a rule that leaves so much access to some paths. What does not hold for a file, as opposed to a folder, is
// left out there.
func allow(access landlock.AccessFSSet, paths []string) landlock.Rule {
	var files, folders []string
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil {
			continue
		} else if info.IsDir() {
			folders = append(folders, path)
		} else {
			files = append(files, path)
		}
	}
	const ofFiles = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
	return landlock.CompositeRule(
		landlock.PathAccess(access, folders...).IgnoreIfMissing(), landlock.PathAccess(access&ofFiles, files...).IgnoreIfMissing(),
	)
}

// existing gives what there is of paths with wildcards.
func existing(patterns []string) (paths []string) {
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		paths = append(paths, found...)
	}
	return paths
}

// listed gives the paths that variables hold.
func (b box) listed(names []string) (paths []string) {
	for _, name := range names {
		for path := range strings.SplitSeq(b.getenv(name), ":") {
			if filepath.IsAbs(path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// own are the files that are read for this very process: its program, and the cookies of an X server.
func (b box) own() []string {
	paths := b.listed(readableBy)
	if exe, err := os.Executable(); err == nil {
		paths = append(paths, exe)
	}
	if home := b.getenv("HOME"); home != "" && b.getenv("XAUTHORITY") == "" {
		paths = append(paths, filepath.Join(home, ".Xauthority"))
	}
	return paths
}

// caches are the folders in which GStreamer keeps what it knows of its plugins, and fontconfig of fonts. They
// are made where they are missing. Where one cannot be, that is found out anew at each start.
func (b box) caches() (folders []string) {
	if cache, err := os.UserCacheDir(); err == nil {
		for _, name := range []string{"gstreamer-1.0", "fontconfig"} {
			folders = append(folders, filepath.Join(cache, name))
		}
	}
	if file := b.getenv("GST_REGISTRY"); filepath.IsAbs(file) {
		folders = append(folders, filepath.Dir(file))
	}
	return slices.DeleteFunc(folders, func(folder string) bool {
		return folder == "/" || folder == "/tmp" || os.MkdirAll(folder, 0o700) != nil
	})
}

// debugLog is the folder of the file that GStreamer writes its log to, if somebody wants one; its name may hold a
// pattern.
func (b box) debugLog() []string {
	if file := b.getenv("GST_DEBUG_FILE"); filepath.IsAbs(file) {
		return []string{filepath.Dir(file)}
	}
	return nil
}

// sockets are those of displays.
func (b box) sockets() (paths []string) {
	if display := b.getenv("DISPLAY"); display != "" {
		folder := "/tmp/.X11-unix"
		if _, err := os.Stat(folder); err != nil {
			folder = "/tmp" // its server comes later
		}
		paths = append(paths, folder)
		if filepath.IsAbs(display) {
			paths = append(paths, filepath.Dir(display))
		}
	}
	if name := b.getenv("WAYLAND_DISPLAY"); filepath.IsAbs(name) {
		paths = append(paths, filepath.Dir(name))
	} else if folder := b.getenv("XDG_RUNTIME_DIR"); name != "" && folder != "" {
		paths = append(paths, folder)
	}
	return paths
}
