package decode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/edge-agent/edge-agent/decode/report"
)

// Build names the build of this executable. The agent and its renderer come from one build: they speak a protocol
// without versions. The linker sets it, see the Makefile.
var Build = "dev"

// RendererName is the file name of the program that renderer processes run.
const RendererName = "edge-agent-renderer"

// Program is the executable of renderer processes. It is opened once and stays open, so that all renderers of an agent
// are of its own build even after an upgrade on disk. One that is not there is looked for again at the next start of a
// renderer.
type Program struct {
	places []string // where it may be, in this order
	args   []string

	mu   sync.Mutex
	file *os.File // nil until it is found
	path string   // where it was found
}

// NewProgram is the program at the first of the places where there is one.
func NewProgram(places ...string) *Program { return &Program{places: places} }

// InstalledProgram is the one of this installation: beside this executable, or in ../libexec/edge-agent.
func InstalledProgram() *Program {
	self, err := os.Executable()
	if err != nil {
		return NewProgram(filepath.Join("/usr/libexec/edge-agent", RendererName))
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	folder := filepath.Dir(self)
	return NewProgram(filepath.Join(folder, RendererName), filepath.Join(folder, "../libexec/edge-agent", RendererName))
}

// open gives the path that starts the program, through its descriptor, and the path where it was found.
func (p *Program) open() (start, path string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		if err := p.find(); err != nil {
			return "", "", err
		}
	}
	return fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()), p.path, nil
}

// find opens the program. p.mu is held.
func (p *Program) find() error {
	for _, path := range p.places {
		file, err := keepOpen(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return failed(report.CodeRenderer, "the renderer program cannot be opened: %v", err)
		}
		p.file, p.path = file, path
		return nil
	}
	return failed(report.CodeRenderer, "the renderer program is missing: there is no %s", strings.Join(p.places, " and no "))
}

// notStarted says why a renderer process could not be started.
func notStarted(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	code := report.CodeStart
	if slices.ContainsFunc(ofTheFile, func(fault error) bool { return errors.Is(err, fault) }) {
		code = report.CodeRenderer
	}
	return failed(code, "the renderer process cannot be started: %v", err)
}

// packages are Debian's packages of the libraries that the renderer program is linked with, by the beginning of their
// names.
var packages = []struct{ library, name string }{
	{"libgstreamer-1.0.", "libgstreamer1.0-0"},
	{"libgstbase-1.0.", "libgstreamer1.0-0"},
	{"libgstcontroller-1.0.", "libgstreamer1.0-0"},
	{"libgst", "libgstreamer-plugins-base1.0-0"},
	{"libglib-2.0.", "libglib2.0-0"},
	{"libgobject-2.0.", "libglib2.0-0"},
	{"libgio-2.0.", "libglib2.0-0"},
	{"libgmodule-2.0.", "libglib2.0-0"},
}

// lacksLibrary is the failure of a process that the dynamic linker gave up with this line; nil for other lines.
func lacksLibrary(line string) *failure {
	if _, rest, ok := strings.Cut(line, "error while loading shared libraries: "); ok {
		library, why, _ := strings.Cut(rest, ": ")
		f := failed(report.CodeRenderer, "the renderer program cannot load the library %s: %s", library, why)
		f.setDetail("library", library)
		for _, p := range packages {
			if strings.HasPrefix(library, p.library) {
				f.Message += "; it is in Debian's package " + p.name
				f.setDetail("package", p.name)
				break
			}
		}
		return f
	}
	if strings.Contains(line, "symbol lookup error: ") || strings.Contains(line, "' not found (required by ") {
		_, why, _ := strings.Cut(line, ": ")
		return failed(report.CodeRenderer, "the renderer program does not fit the libraries of this box: %s", why)
	}
	return nil
}
