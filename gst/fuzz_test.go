package gst

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// Whatever an agent says, in whatever order: the renderer ends when the agent does, or with an error, and nothing of it is left.
func FuzzServe(f *testing.F) {
	initOnce()
	p := plan.Plan{}
	if plans := plan.Choose(format.Format{Codec: format.H264, Width: 64, Height: 64}, plan.Display{Sink: plan.None}, plan.Preference{}, plan.Known{Found: []string{"avdec_h264"}}); len(plans) > 0 {
		p = plans[0]
		p.Unpaced = true
	}
	f.Add([]byte{1, 0, 3, 0, 0, 9, 1, 0, 0, 0, 1, 0x65, 0x88, 0x80, 0x10, 7, 0})
	f.Add([]byte{3, 0, 4, 6, 'h', 'e', 'l', 'l', 'o', '!', 5, 0, 1, 0, 6, 0, 1, 0, 7, 0})
	f.Add([]byte("\x02\x02{}\x02\x12{\"Number\":1,\"Plan\":7}"))
	f.Add([]byte{0, 3, 1, 2, 3, 6, 0, 7, 0, 5, 0, 8, 2, 1, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<10 {
			return
		}
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- Serve(context.Background(), theirs, nil) }()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		out := decode.NewWriter(ours)
		_ = ours.SetWriteDeadline(time.Now().Add(patience))
		for number := uint32(1); len(data) >= 2; number++ {
			what := data[0]
			text := take(&data)
			if say(out, number, p, what, text) != nil {
				break // it has ended
			}
		}
		_ = ours.Close()
		select {
		case <-ended:
		case <-time.After(2 * patience):
			t.Fatal("the renderer does not end")
		}
	})
}

// take cuts what belongs to one message off the front: a kind, a length, and as many bytes.
func take(data *[]byte) []byte {
	d := *data
	n := min(int(d[1]), len(d)-2)
	*data = d[2+n:]
	return d[2 : 2+n]
}

// say sends one message of an agent, more or less.
func say(out *decode.Writer, number uint32, p plan.Plan, what byte, text []byte) error {
	kinds := []decode.Kind{decode.KindOpen, decode.KindScreen, decode.KindSlate, decode.KindSnapshot, decode.KindLoad, decode.KindDescribe}
	switch what % 9 {
	case 0:
		return out.Raw(decode.KindFrame, what, int64(number), text)
	case 1:
		return out.JSON(decode.KindOpen, decode.Open{Number: number, Plan: p, Latency: time.Duration(len(text)) * time.Millisecond})
	case 2:
		return out.Raw(kinds[len(text)%len(kinds)], 0, int64(number), text)
	case 3:
		return out.JSON(decode.KindScreen, decode.Screen{Number: number, Display: plan.Display{Sink: plan.None}, Unpaced: true})
	case 4:
		return out.JSON(decode.KindSlate, decode.Slate{Device: string(text), State: string(text), Message: string(text), After: time.Duration(len(text))})
	case 5:
		return out.JSON(decode.KindSnapshot, decode.Snapshot{PNG: len(text)%2 > 0, Most: len(text)})
	case 6:
		return out.Raw(decode.KindCut, 0, 0, nil)
	case 7:
		return out.Raw(decode.KindDrain, 0, 0, nil)
	default:
		return out.JSON(decode.KindLoad, decode.Load{Elements: []string{string(text)}})
	}
}
