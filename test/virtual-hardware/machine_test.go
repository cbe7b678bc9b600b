//go:build hardware

// Package machine tests the virtual machine itself: that it is one, with the devices and the
// freedom that the tests of the other folders count on.
package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each device is there, with a node that a program can open.
func TestDevices(t *testing.T) {
	var found []string
	for _, video := range glob(t, "/sys/class/video4linux/*") {
		found = append(found, read(t, filepath.Join(video, "name"))+" "+node(t, "/dev", video))
	}
	for _, card := range glob(t, "/sys/class/drm/*/dev") {
		dir := filepath.Dir(card)
		device, err := os.Readlink(filepath.Join(dir, "device"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, filepath.Base(device)+" "+node(t, "/dev/dri", dir))
	}
	for _, media := range glob(t, "/sys/bus/media/devices/*") {
		found = append(found, read(t, filepath.Join(media, "model"))+" "+node(t, "/dev", media))
	}
	slices.Sort(found)
	want := []string{
		"stateful-decoder /dev/video1",
		"stateful-encoder /dev/video0",
		"stateless-decoder /dev/video2",
		"vgem /dev/dri/card0",
		"vgem /dev/dri/renderD128",
		"vicodec /dev/media0",
		"visl /dev/media1",
		"visl /dev/video3",
		"vkms /dev/dri/card1",
	}
	if !slices.Equal(found, want) {
		t.Errorf("devices are\n%s\nand should be\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
}

// A test may write where it likes: what the host has is below, what is written is in memory.
func TestEveryFolderCanBeWritten(t *testing.T) {
	for _, dir := range []string{".", "/etc", "/tmp", "/usr/lib", "/dev/shm", "/run", os.Getenv("VIRTUAL_HARDWARE_OUT")} {
		path := filepath.Join(dir, "written-in-the-virtual-hardware")
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("there is no %s (%v); this test runs inside: make test-hardware", pattern, err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// node is the device node of a folder below /sys.
func node(t *testing.T, dev, sys string) string {
	t.Helper()
	path := filepath.Join(dev, filepath.Base(sys))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return ""
	}
	f.Close()
	return path
}
