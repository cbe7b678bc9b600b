package decode

import (
	"slices"
	"strings"
)

// Environment variables by which a renderer learns about its sandbox.
const (
	SandboxEnv      = "EDGE_AGENT_SANDBOX"       // SandboxOff, or empty
	SandboxPathsEnv = "EDGE_AGENT_SANDBOX_PATHS" // Sandbox.Paths, separated by colons
	SandboxOff      = "off"
)

// What a renderer process gets of the agent's environment: what libraries, drivers and displays read. Everything else
// stays with the agent, keys of AWS before all.
var (
	childVariables = []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LANGUAGE",
		"DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "WAYLAND_DEBUG", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_DATA_DIRS", "XDG_SESSION_TYPE",
		"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_BIND_NOW", "GBM_BACKEND", "GBM_BACKENDS_PATH", "vblank_mode", "GLIBC_TUNABLES",
		"GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GORACE", "GOCOVERDIR", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
	}
	childPrefixes = []string{
		"LC_", "GST_", "G_", "ORC_", "LIBVA_", "VDPAU_", "MESA_", "LIBGL_", "EGL_", "__EGL_", "__GL_", "__GLX_", "__NV_", "DRI_", "GALLIUM_", "LP_",
		"DRM_", "VK_", "CUDA_", "NVIDIA_", "INTEL_", "AMD_", "RADEON_", "R600_", "PAN_", "V3D_", "VC4_", "ETNA_", "LIMA_", "IRIS_", "V4L2_", "MPP_", "RK_",
		"MALLOC_",
	}
)

// childEnvironment gives what of an environment a renderer process gets.
func childEnvironment(all []string, s Sandbox) (env []string) {
	for _, variable := range all {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(childVariables, name) || slices.Contains(s.Env, name) ||
			slices.ContainsFunc(childPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			env = append(env, variable)
		}
	}
	if s.Off {
		return append(env, SandboxEnv+"="+SandboxOff)
	}
	if len(s.Paths) > 0 {
		env = append(env, SandboxPathsEnv+"="+strings.Join(s.Paths, ":"))
	}
	return env
}
