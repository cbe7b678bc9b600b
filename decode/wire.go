package decode

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/system"
)

// The protocol between agent and renderer. Both ends are of the same build, see Hello.Build, so
// there is no version. Each message is a header of 32 bytes, little endian, and a payload:
//
//	0      1      2          4               8                              16                   24                  32
//	┌──────┬──────┬──────────┬───────────────┬──────────────────────────────┬────────────────────┬───────────────────┐
//	│ kind │flags │    0     │ payload bytes │ time (ns) or request number  │ received (ns) or 0 │ frame number or 0 │
//	└──────┴──────┴──────────┴───────────────┴──────────────────────────────┴────────────────────┴───────────────────┘
const headerSize = 32

// Kind tells messages apart.
type Kind uint8

// The messages. Payloads are JSON but for Frame and Picture.
const (
	KindOpen     Kind = 1 // agent: Open; builds a pipeline, in place of an earlier one
	KindFrame    Kind = 2 // agent: one access unit, with flags and its time on the producer's line
	KindDrain    Kind = 3 // agent: show what is left, then take the pipeline down
	KindSnapshot Kind = 4 // agent: Snapshot; numbered request for the picture that is on the screen
	KindDescribe Kind = 5 // agent: Describe
	KindScreen   Kind = 6 // agent: Screen; where pictures go, in place of an earlier one
	KindSlate    Kind = 7 // agent: Slate; what stands there while there is no picture
	KindCut      Kind = 8 // agent: take the pipeline down at once, whatever it still has
	KindLoad     Kind = 9 // agent: Load; nothing comes of it but that a pipeline is opened faster

	KindHello    Kind = 16 // renderer: Hello, once, first
	KindOpened   Kind = 17 // renderer: Opened
	KindStatus   Kind = 18 // renderer: Status, every StatusInterval: also the heartbeat
	KindFailure  Kind = 19 // renderer: Failure
	KindPicture  Kind = 20 // renderer: answer to Snapshot: the picture, or with FlagFailed why there is none
	KindDrained  Kind = 21 // renderer: Status, the last of a pipeline
	KindDevices  Kind = 22 // renderer: Devices, the answer to Describe
	KindScreened Kind = 23 // renderer: Screened, the answer to Screen, and again when it fails later
)

// Flags of a message.
const (
	FlagKey        = 1 << 0 // Frame: a decoder can begin here
	FlagDiscont    = 1 << 1 // Frame: frames before it are missing
	FlagReplay     = 1 << 2 // Frame: decode, do not show
	FlagStored     = 1 << 4 // Frame: of a recording, every picture is to be shown
	FlagDisposable = 1 << 5 // Frame: no other frame refers to it
	FlagFailed     = 1 << 3 // Picture: the payload is a message
)

// StatusInterval is the time between two Status messages.
const StatusInterval = 200 * time.Millisecond

// MaxHandover bounds Status.Handover: more frames than that are a burst.
const MaxHandover = 64

// Side is one of the two that talk to each other.
type Side uint8

// The two sides.
const (
	FromAgent    Side = 1
	FromRenderer Side = 2
)

func (s Side) String() string {
	if s == FromAgent {
		return "agent"
	}
	return "renderer"
}

// sender is the side that may send messages of a kind.
func (k Kind) sender() Side {
	if k < KindHello {
		return FromAgent
	}
	return FromRenderer
}

// MaxPicture bounds the answer to a Snapshot, in bytes.
const MaxPicture = 64 << 20

// maxPayload bounds what a reader takes memory for, by kind.
func maxPayload(k Kind) int {
	switch k {
	case KindFrame:
		return 32 << 20
	case KindPicture:
		return MaxPicture
	case KindDrain, KindCut:
		return 0
	case KindOpen, KindLoad, KindSnapshot, KindDescribe, KindScreen, KindSlate, KindScreened, KindHello, KindOpened, KindStatus, KindFailure, KindDrained, KindDevices:
		return 1 << 20
	}
	return -1
}

// Hello is what the renderer says of itself.
type Hello struct {
	Build     string   // of its program, see Build
	GStreamer string   // version
	Elements  []string // video decoders and sinks that exist

	Unconfined []string `json:",omitempty"` // what the sandbox lacks
}

// Open asks for a pipeline.
type Open struct {
	Number  uint32 // of the pipeline; comes back in what the renderer says of it
	Plan    plan.Plan
	Latency time.Duration // budget of the timeline
}

// Load names elements that will be needed soon.
type Load struct {
	Elements []string
}

// Describe asks for the device nodes of elements.
type Describe struct {
	Elements []string
	Opened   bool // open the devices: some elements do not say before
}

// Devices are the device nodes that elements use, as far as they say.
type Devices struct {
	Nodes map[string]string // by element
}

// Screen asks for a display. What is opened without one shows on the display of its plan.
type Screen struct {
	Number  uint32 // comes back in what the renderer says of it
	Display plan.Display
	Unpaced bool // show as fast as pictures come
}

// Screened says that a display was opened, or that it does not work (any more). In that
// case nothing is shown until the next Screen.
type Screened struct {
	Number  uint32
	Mode    plan.Mode // of the screen, as far as it is known
	Path    plan.Path // that pictures take
	Passed  []string  // why it is no better one
	Failure *Failure
}

// Slate is what stands on the screen while there is no picture: at the start, and when none came
// for After. The child keeps the newest.
type Slate struct {
	Device  string
	Stream  string
	State   string // in words
	Code    string // of what is wrong; "" when nothing is
	Message string // the same in words
	Action  string // what to do about it
	Since   time.Time
	Picture time.Time // when the newest picture came, once there has been none for a while; zero before the first
	After   time.Duration

	// Of the box, for the technician in front of it.
	Version string // of the agent
	Address string // of the box in its network
	Broker  string // how the connection to the MQTT broker stands
	Alive   bool   // the session plays and nothing is wrong: the newest picture of a stream whose frames are rare stays
	AtOnce  bool   // at the start: do not wait for a picture that may be about to come. Set by Renderer
}

// Snapshot says what kind of picture is wanted.
type Snapshot struct {
	PNG  bool // else JPEG
	Most int  // bytes; 0: as many as it takes. Only for JPEG.
}

// Opened says that a pipeline was built and started.
type Opened struct {
	Number uint32
}

// Status says how far a pipeline is. Number is 0 when there is none.
type Status struct {
	Number   uint32
	Fed      uint64 // frames taken from the socket
	Queued   uint64 // of these, waiting before the decoder
	Decoded  uint64 // pictures that left the decoder
	Held     bool   // a picture waits for room on the screen, and the decoder for it
	Shown    uint64 // pictures that were on the screen
	Fresh    uint64 // pictures that differ from those before them
	Late     uint64 // pictures that were dropped because their time was over
	Skipped  uint64 // frames that were not decoded: the decoder was behind, or made no picture of them
	Anchored uint64 // how often the time line was anchored
	Busy     bool   // a pipeline that was asked for waits for the one before it, or for the display

	// Of the newest picture on the screen; zero before the first.
	FrameTime time.Duration // on the producer's line
	Wall      time.Time     // when it was there

	// Handover is how long each frame since the last Status took from its last byte's being read by the
	// agent to its being in the decoder's queue. Replayed frames are left out, and those beyond MaxHandover.
	Handover []time.Duration `json:",omitempty"`

	// Settled are the frames of the pipeline whose fate became known since the last Status, in no order. Every frame
	// that was sent is settled once, at the latest in the last Status of its pipeline, unless the process ends before.
	// Frames without a number, those of trials, are left out.
	Settled []report.Settled `json:",omitempty"`

	Checksums []string `json:",omitempty"` // of all pictures that left the decoder, when the plan asks for them; "" when one cannot be seen
	Opaque    bool     `json:",omitempty"` // pictures lie in memory in a way of their own: checksums of other decoders do not compare
}

// taken is how many frames the decoder has taken.
func (s Status) taken() uint64 { return s.Fed - min(s.Fed, s.Queued) }

// Failure is an error of a pipeline, which is taken down by it.
type Failure struct {
	Number  uint32
	Code    string // CodeError, CodeHang or CodeDisplayLost
	Element string // GStreamer element, such as avdec_h264
	Domain  string // of the GError, such as gst-stream-error-quark
	GstCode int
	Message string
	Debug   string
}

// Message is one message as read.
type Message struct {
	Kind  Kind
	Flags uint8
	Time  int64
	// Received is when the last byte of a frame was read, by Monotonic; 0: that is not of interest.
	Received time.Duration
	Number   uint64 // of a frame: Unit.Number
	Payload  []byte // valid until the next call of Next
}

// Decode reads a JSON payload into v.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("message of kind %d: %w", m.Kind, err)
	}
	return nil
}

// Memory of a Reader. What a header says is believed only as far as the data comes: whoever writes the header alone
// costs no more than firstStep.
const (
	firstStep = 64 << 10
	mostKept  = 4 << 20 // from one message to the next: more than most key frames have
)

// Reader reads messages. It belongs to one goroutine.
type Reader struct {
	r       *bufio.Reader
	from    Side
	payload []byte
}

// NewReader reads from r what one side sends. A message that only the other one may send is an error.
func NewReader(r io.Reader, from Side) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), from: from}
}

// Next reads one message. The error is io.EOF at the end between two messages.
func (r *Reader) Next() (Message, error) {
	head, err := r.r.Peek(headerSize)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, err
	}
	m := Message{
		Kind: Kind(head[0]), Flags: head[1], Time: int64(binary.LittleEndian.Uint64(head[8:])),
		Received: time.Duration(binary.LittleEndian.Uint64(head[16:])), Number: binary.LittleEndian.Uint64(head[24:]),
	}
	size := int64(binary.LittleEndian.Uint32(head[4:]))
	if size > int64(maxPayload(m.Kind)) {
		return Message{}, fmt.Errorf("message of kind %d with %d bytes is not allowed", m.Kind, size)
	}
	if m.Kind.sender() != r.from {
		return Message{}, fmt.Errorf("message of kind %d is not allowed from the %v", m.Kind, r.from)
	}
	if _, err := r.r.Discard(headerSize); err != nil {
		return Message{}, err
	}
	if err := r.read(int(size)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, err
	}
	m.Payload = r.payload
	return m, nil
}

// read reads a payload. Its memory grows with the data: to twice of what has come.
func (r *Reader) read(size int) error {
	if cap(r.payload) > mostKept && size <= mostKept {
		r.payload = nil
	}
	r.payload = r.payload[:0]
	for have := 0; have < size; have = len(r.payload) {
		if have == cap(r.payload) {
			r.payload = append(make([]byte, 0, min(size, max(firstStep, 2*have))), r.payload...)
		}
		r.payload = r.payload[:min(size, cap(r.payload))]
		if _, err := io.ReadFull(r.r, r.payload[have:]); err != nil {
			return err
		}
	}
	return nil
}

// Writer writes messages, from any goroutine, each whole.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	head [headerSize]byte
	vec  [2][]byte

	began atomic.Int64 // when the write that is under way began, in nanoseconds since epoch; 0: there is none
}

// epoch is a time before all writes; times since then are of the monotonic clock.
var epoch = time.Now().Add(-time.Second)

// since is when the write that is under way began; zero when there is none.
func (w *Writer) since() time.Time {
	began := w.began.Load()
	if began == 0 {
		return time.Time{}
	}
	return epoch.Add(time.Duration(began))
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w}
}

// Frame sends an access unit.
func (w *Writer) Frame(u Unit) error {
	var flags uint8
	if u.Key {
		flags |= FlagKey
	}
	if u.Discont {
		flags |= FlagDiscont
	}
	if u.Stored {
		flags |= FlagStored
	}
	if u.Replay {
		flags |= FlagReplay
	}
	if u.Disposable {
		flags |= FlagDisposable
	}
	var received time.Duration
	if !u.Received.IsZero() && !u.Replay {
		received = system.Monotonic() - time.Since(u.Received)
	}
	return w.write(Message{Kind: KindFrame, Flags: flags, Time: int64(u.Time), Received: received, Number: u.Number, Payload: u.Data})
}

// JSON sends v.
func (w *Writer) JSON(k Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Raw(k, 0, 0, payload)
}

// Raw sends a message as it is.
func (w *Writer) Raw(k Kind, flags uint8, time int64, payload []byte) error {
	return w.write(Message{Kind: k, Flags: flags, Time: time, Payload: payload})
}

// write sends header and payload, in one system call when w is a socket.
func (w *Writer) write(m Message) error {
	if len(m.Payload) > maxPayload(m.Kind) {
		return fmt.Errorf("message of kind %d with %d bytes is not allowed", m.Kind, len(m.Payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.head = [headerSize]byte{byte(m.Kind), m.Flags}
	binary.LittleEndian.PutUint32(w.head[4:], uint32(len(m.Payload)))
	binary.LittleEndian.PutUint64(w.head[8:], uint64(m.Time))
	binary.LittleEndian.PutUint64(w.head[16:], uint64(m.Received))
	binary.LittleEndian.PutUint64(w.head[24:], m.Number)
	w.vec = [2][]byte{w.head[:], m.Payload}
	buffers := net.Buffers(w.vec[:])
	if len(m.Payload) == 0 {
		buffers = buffers[:1]
	}
	w.began.Store(int64(time.Since(epoch)))
	_, err := buffers.WriteTo(w.w)
	w.began.Store(0)
	w.vec[1] = nil
	return err
}
