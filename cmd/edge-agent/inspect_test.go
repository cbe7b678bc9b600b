package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/test/kit"
)

// element builds a Matroska element with a known size of at most 16 KiB.
func element(id string, children ...string) string {
	data := strings.Join(children, "")
	return id + string([]byte{0x40 | byte(len(data)>>8), byte(len(data))}) + data
}

// Elements of the documents below, by their ids in the Matroska specification.
func ebmlHeader() string { return element("\x1A\x45\xDF\xA3", element("\x42\x82", "matroska")) } // EBML, DocType

func tags(nameValue ...string) string {
	var simple []string
	for i := 0; i < len(nameValue); i += 2 {
		simple = append(simple, element("\x67\xC8", // SimpleTag
			element("\x45\xA3", nameValue[i]),    // TagName
			element("\x44\x87", nameValue[i+1]))) // TagString
	}
	return element("\x12\x54\xC3\x67", element("\x73\x73", simple...)) // Tags, Tag
}

// document is an EBML header and a Segment of unknown size.
func document(children ...string) string {
	return ebmlHeader() + "\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF" + strings.Join(children, "")
}

// wholeFragment is a fragment as the service sends it: tags, two frames, tags.
func wholeFragment(number string) string {
	track := element("\xAE", // TrackEntry
		element("\xD7", "\x01"),                 // TrackNumber
		element("\x83", "\x01"),                 // TrackType: video
		element("\x86", "V_MPEG4/ISO/AVC"),      // CodecID
		element("\x63\xA2", "\x01\x42\xC0\x1E"), // CodecPrivate: no complete avcC
		element("\xE0", // Video
			element("\xB0", "\x02\x80"),  // PixelWidth 640
			element("\xBA", "\x01\x68"))) // PixelHeight 360
	return document(
		element("\x16\x54\xAE\x6B", track), // Tracks
		tags(
			"AWS_KINESISVIDEO_FRAGMENT_NUMBER", number,
			"AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1505500012.321",
			"AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "1505500012.500",
		),
		element("\x1F\x43\xB6\x75", // Cluster
			element("\xE7", "\x00"), // Timestamp
			element("\xA3", "\x81\x00\x00\x80"+"\x00\x00\x00\x02\x65\x88"),  // SimpleBlock: track 1, key frame, one IDR slice
			element("\xA3", "\x81\x00\x21\x00"+"\x00\x00\x00\x02\x41\x9A")), // SimpleBlock: 33 ms, one slice
		tags(
			"AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "-179",
			"AWS_KINESISVIDEO_CONTINUATION_TOKEN", "token-"+number,
		),
	)
}

// tracksAndTags is a document with every property that a track can have, and tags of the producer.
func tracksAndTags() string {
	tracks := element("\x16\x54\xAE\x6B", // Tracks
		element("\xAE", // TrackEntry
			element("\xD7", "\x01"), element("\x83", "\x01"), // TrackNumber 1, TrackType: video
			element("\x53\x6E", "front door"),                                                        // Name
			element("\x23\xE3\x83", "\x02\x62\x5A\x00"),                                              // DefaultDuration 40 ms
			element("\x86", "V_MS/VFW/FOURCC"),                                                       // CodecID
			element("\x63\xA2", "\x28"+strings.Repeat("\x00", 15)+"H264"+strings.Repeat("\x00", 20)), // a BITMAPINFOHEADER
			element("\xE0", element("\xB0", "\x02\x80"), element("\xBA", "\x01\x68"))),               // Video: 640x360
		element("\xAE",
			element("\xD7", "\x02"), element("\x83", "\x02"), // TrackType: audio
			element("\x53\x6E", "micro\x1Bphone"),
			element("\x86", "A_PCM/INT/LIT"),
			element("\x6D\x80"), // ContentEncodings
			element("\xE1", // Audio
				element("\xB5", "\x45\xFA\x00\x00"),                    // SamplingFrequency 8000
				element("\x9F", "\x02"), element("\x62\x64", "\x10"))), // Channels, BitDepth
		element("\xAE",
			element("\xD7", "\x03"), element("\x83", "\x11"), element("\x86", "S_TEXT/UTF8")))
	block := func(track, flags, data string) string { return element("\xA3", track+"\x00\x00"+flags+data) }
	audio, text := block("\x82", "\x80", "sound"), block("\x83", "\x80", "words")
	cluster := element("\x1F\x43\xB6\x75", element("\xE7", "\x00"),
		block("\x81", "\x80", "\x00\x00\x00\x02\x65\x88"), audio, audio, text, block("\x81", "\x00", "\x00\x00\x00\x02\x41\x9A"))
	own := func(room string) string { return tags("ROOM", room, "QUOTED", "bell \a", "EMPTY", "") }
	service := func(number string) string { return tags("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number) }
	last := tags("AWS_KINESISVIDEO_CONTINUATION_TOKEN", "token")
	return document(tracks, own("1"), service(number1), cluster, last) +
		document(tracks, own("1"), service(number2), cluster, last) + // the same tags are not listed again
		document(tracks, own("2"), service(number2), cluster, tags("AFTER", "the frames"), last)
}

const (
	number1 = "91343852333181432392682062607743920146159169392"
	number2 = "91343852333181432397633822764885441725874549018"
)

func serviceError() string {
	return document(tags("AWS_KINESISVIDEO_ERROR_CODE", "KMS_ACCESS_DENIED", "AWS_KINESISVIDEO_ERROR_ID", "4500"))
}

func TestInspectGolden(t *testing.T) {
	two := wholeFragment(number1) + wholeFragment(number2)
	captures := map[string]struct {
		body string
		code string // of the error; "" for none
	}{
		"empty":     {"", "capture.malformed"},
		"two":       {two, ""},
		"error":     {wholeFragment(number1) + serviceError(), ""},
		"cut":       {two[:len(two)-100], "capture.truncated"},
		"garbage":   {strings.Repeat("no capture ", 20), "capture.malformed"},
		"zeros":     {strings.Repeat("\x00", 100), "capture.malformed"},
		"one-byte":  {"\x1A", "capture.truncated"},
		"tracks":    {tracksAndTags(), ""},
		"bad-start": {"xyz" + two, "capture.malformed"},
		"bad-inside": {
			strings.Replace(wholeFragment(number1), "\xA3\x40\x0A\x81\x00\x21", "\xA3\x7F\xFF\x81\x00\x21", 1) + wholeFragment(number2),
			"capture.malformed",
		},
	}
	for name, c := range captures {
		t.Run(name, func(t *testing.T) {
			for format, json := range map[string]bool{"json": true, "txt": false} {
				var out strings.Builder
				err := inspectCommand{JSON: json, File: "-"}.Run(context.Background(),
					stdio{In: iotest.OneByteReader(strings.NewReader(c.body)), Out: &out})
				checkCode(t, err, c.code)
				var message strings.Builder
				printError(&message, err)
				kit.Golden(t, filepath.Join("inspect", name+"."+format), out.String()+message.String())
			}
		})
	}
}

// A cut anywhere gives a clean shorter capture or capture.truncated, and never fewer
// fragments than were whole.
func TestInspectCutAnywhere(t *testing.T) {
	first := wholeFragment(number1)
	body := first + wholeFragment(number2)
	for n := 1; n < len(body); n++ {
		var out strings.Builder
		err := inspectCommand{JSON: true, File: "-"}.Run(context.Background(), stdio{In: strings.NewReader(body[:n]), Out: &out})
		if f, ok := errors.AsType[*failure.Failure](err); err != nil && (!ok || f.Code != "capture.truncated") {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if whole := strings.Count(out.String(), `"complete":true`); n >= len(first) && whole != 1 {
			t.Fatalf("cut at %d: %d whole fragments in\n%s", n, whole, out.String())
		}
		if err == nil == strings.Contains(out.String(), `"truncated":true`) {
			t.Fatalf("cut at %d: error %v but\n%s", n, err, out.String())
		}
	}
}

func TestInspectUnreadable(t *testing.T) {
	broken := errors.New("device gone")
	for name, run := range map[string]func() error{
		"directory": func() error {
			err := inspectCommand{File: "testdata"}.Run(context.Background(), stdio{Out: new(bytes.Buffer)})
			if err == nil || !strings.HasSuffix(err.Error(), "testdata is a directory") {
				t.Errorf("inspect of a directory: %v", err)
			}
			return err
		},
		"absent": func() error {
			return inspectCommand{File: filepath.Join(t.TempDir(), "absent")}.Run(context.Background(), stdio{Out: new(bytes.Buffer)})
		},
		"breaks off": func() error {
			in := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(wholeFragment(number1))))
			return inspectCommand{File: "-"}.Run(context.Background(), stdio{In: in, Out: new(bytes.Buffer)})
		},
		"at once": func() error {
			return inspectCommand{File: "-"}.Run(context.Background(), stdio{In: iotest.ErrReader(broken), Out: new(bytes.Buffer)})
		},
	} {
		t.Run(name, func(t *testing.T) { checkCode(t, run(), "capture.unreadable") })
	}
}

// brokenWriter is a full disk.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestInspectSaysThatItCannotWrite(t *testing.T) {
	for _, json := range []bool{true, false} {
		err := inspectCommand{JSON: json, File: "-"}.Run(context.Background(),
			stdio{In: strings.NewReader(wholeFragment(number1)), Out: brokenWriter{}})
		if err == nil {
			t.Errorf("json %v: no error", json)
		}
	}
}

// The captures come from the service itself; they are no part of this repository.
func TestInspectRealCaptures(t *testing.T) {
	const samples = "../../../shared/samples"
	if _, err := os.Stat(samples); err != nil {
		t.Skip("the captures are not on this machine: ", err)
	}
	for name, want := range map[string]struct{ summary, code string }{
		"output_get_media": {
			`{"type":"summary","documents":5,"fragments":5,"frames":300,"key_frames":5,"tracks":[{"number":1,"kind":"video","frames":300,"key_frames":5}],"bytes":2503485,"errors":0,"truncated":false}`, "",
		},
		"test_mixed_tags": {
			`{"type":"summary","documents":10,"fragments":10,"frames":100,"key_frames":10,"tracks":[{"number":1,"kind":"video","frames":100,"key_frames":10}],"bytes":22768,"errors":0,"truncated":false}`, "",
		},
		"output-get-media-equal-timecode": {
			`{"type":"summary","documents":2,"fragments":2,"frames":239,"key_frames":2,"tracks":[{"number":1,"kind":"video","frames":239,"key_frames":2}],"bytes":1274359,"errors":0,"truncated":true}`,
			"capture.truncated",
		},
		"empty-mkv-with-tags": {
			`{"type":"summary","documents":1,"fragments":1,"frames":0,"key_frames":0,"tracks":[{"number":1,"kind":"video","frames":0,"key_frames":0}],"bytes":5729,"errors":0,"truncated":false}`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := inspectCommand{JSON: true, File: filepath.Join(samples, name+".mkv")}.Run(context.Background(), stdio{Out: &out})
			checkCode(t, err, want.code)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != want.summary {
				t.Errorf("got  %s\nwant %s", got, want.summary)
			}
		})
	}
}

// checkCode wants an error with this code, or none for "".
func checkCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if f, ok := errors.AsType[*failure.Failure](err); !ok || f.Code != code {
		t.Errorf("got %v, want code %s", err, code)
	}
}
