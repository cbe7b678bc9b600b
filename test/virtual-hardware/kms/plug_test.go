//go:build hardware

package kms

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// A cable that is pulled is told of, decoding goes on, and when it is back so is the picture.
func TestUnplug(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	screen := look(t)
	b := start(t, box.Config{Clip: clip, Settings: settings})
	screen.shows(want)

	pulled := plug(t, "off")
	lost := b.Event("display.lost")
	if !strings.Contains(lost.Message, connector) { // seen by the agent, or by the sink
		t.Errorf("%+v", lost)
	}
	t.Logf("seen %v after the cable was pulled", lost.TS.Sub(pulled))
	b.Decoding("avdec_h264")

	back := plug(t, "on")
	event := b.Event("display.back")
	t.Logf("the cable was in for %v before it was seen, and for %v before the picture was", event.TS.Sub(back), screen.shows(want).Sub(back))
	decodersWork(t, b)
}

// An agent that starts without a screen shows on the one that is plugged in later.
func TestPluggedLater(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	plug(t, "off")
	b := start(t, box.Config{Clip: clip, Settings: settings})
	if e := b.Event("display.none"); e.Message != "no screen is connected to any of "+connector {
		t.Errorf("%q", e.Message)
	}
	b.Decoding("avdec_h264")
	in := plug(t, "on")
	t.Logf("the cable was in for %v before the picture was seen", look(t).shows(want).Sub(in))
	decodersWork(t, b)
}

// A display that another program holds is told of, and used as soon as it is free.
func TestBusy(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	holder, err := os.OpenFile(card, os.O_RDWR, 0) // the first to open it is the one who may show
	if err != nil {
		t.Fatal(err)
	}
	const isMaster = 'd'<<8 | 0x1e // the request to become it again
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, holder.Fd(), isMaster, 0); errno != 0 {
		t.Fatal(errno)
	}
	b := start(t, box.Config{Clip: clip, Settings: settings})
	if e := b.Event("display.busy"); !strings.Contains(e.Message, "another program holds the display") {
		t.Errorf("%q", e.Message)
	}
	b.Decoding("avdec_h264")
	holder.Close()
	free := time.Now()
	b.Event("display.back")
	t.Logf("the display was free for %v before the picture was seen", look(t).shows(want).Sub(free))
	decodersWork(t, b)
}
