package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// TestSimulate serves a script with a file beside it, until it is stopped.
func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("gate.mkv", clip.H265())
	script := write("s.toml", []byte("[service]\nregion = \"eu-west-1\"\n[[streams]]\nname = \"Gate_1\"\nfile = \"gate.mkv\"\n"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	err := simulateCommand{Listen: "127.0.0.1:0", Script: script}.Run(ctx, stdio{Out: &out, Err: &errs})
	if err != nil || errs.String() != "" {
		t.Errorf("%v, standard error %q", err, errs.String())
	}
	for _, want := range []string{"http://127.0.0.1:", `region = "eu-west-1"`, `name = "gate-1"`, `stream_name = "Gate_1"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not say %s", out.String(), want)
		}
	}
	for content, want := range map[string]string{
		"name = \"a\"\nfile = \"none.mkv\"\n":                                          "capture.unreadable: ",
		"name = \"a\"\nfile = \"s.toml\"\n":                                            "capture.malformed: ",
		"name = \"a/b\"\nclip = \"h264\"\n":                                            "config.invalid: ",
		"name = \"a\"\nclip = \"h264\"\nchanges = [{ fragment = 0, clip = \"h265\" }]": "config.invalid: ",
	} {
		write("s.toml", []byte("[[streams]]\n"+content))
		status, _, errs := run("simulate", "--script", script)
		if status != exitFailed || !strings.HasPrefix(errs, "edge-agent: "+want) {
			t.Errorf("%q: status %d, %q", content, status, errs)
		}
	}
	if status, _, errs := run("simulate", "--script", filepath.Join(dir, "none.toml")); status != exitFailed || !strings.HasPrefix(errs, "edge-agent: config.unreadable: ") {
		t.Errorf("status %d, %q", status, errs)
	}
	if status, _, _ := run("simulate", "--script", script, "--stream", "a=b"); status != exitUsage {
		t.Errorf("both --script and --stream: status %d", status)
	}
}

// TestUnusableFiles says of a file that cannot be served what it is and what to do.
func TestUnusableFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	mp4 := append([]byte("\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"), make([]byte, 1000)...)
	whole := clip.H265()
	segment := bytes.Index(whole, []byte{0x18, 0x53, 0x80, 0x67})
	for name, content := range map[string][]byte{
		"clip.mp4": mp4, "it's a film.mp4": mp4, "empty.mkv": nil, "head.mkv": append(whole[:segment:segment], 0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"cut.mkv": whole[:len(whole)/2],
	} {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"clip.mp4":        fmt.Sprintf("%[1]s is not Matroska. Convert it: ffmpeg -i %[1]s -c copy %[2]s\n", path("clip.mp4"), path("clip.mkv")),
		"it's a film.mp4": "ffmpeg -i '" + path(`it'\''s a film.mp4`) + "' -c copy '" + path(`it'\''s a film.mkv`) + "'\n",
		"empty.mkv":       path("empty.mkv") + " is not Matroska.",
		"head.mkv":        "no key frame that another frame of its track follows. Use a file with H.264 or H.265 video",
		"cut.mkv":         "clip: cut short in SimpleBlock",
		"":                "is a directory",
	} {
		status, _, errs := run("simulate", "--stream", "a="+path(name))
		if status != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %s\nwant %s", name, status, errs, want)
		}
	}
}

// TestSimulatedCredentialsAreTold says with which key an agent can sign: the first of the script, or of the command line.
func TestSimulatedCredentialsAreTold(t *testing.T) {
	const text = `
[service]
clock_ahead = "10m"
[[service.credentials]]
access_key_id = "FIRST"
secret_access_key = "one"
session_token = "token"
expires = "15m"
[[service.credentials]]
access_key_id = "SECOND"
secret_access_key = "two"
[[streams]]
name = "a"
clip = "h265"
`
	file := filepath.Join(t.TempDir(), "s.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for want, keys := range map[string][]accessKey{
		"AWS_ACCESS_KEY_ID=FIRST AWS_SECRET_ACCESS_KEY=one AWS_SESSION_TOKEN=token": nil,
		"AWS_ACCESS_KEY_ID=OWN AWS_SECRET_ACCESS_KEY=a/b+c edge-agent":              {{AccessKeyID: "OWN", SecretAccessKey: "a/b+c"}},
	} {
		var out, errs strings.Builder
		err := simulateCommand{Listen: "127.0.0.1:0", Script: file, Keys: keys}.Run(ctx, stdio{Out: &out, Err: &errs})
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v, %q does not say %s", err, out.String(), want)
		}
	}
}
