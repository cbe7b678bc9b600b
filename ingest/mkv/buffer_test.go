package mkv

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// readAll reads r to its end and gives the most memory that its buffer had at an event.
func readAll(t *testing.T, r *Reader) (most int) {
	t.Helper()
	for {
		_, err := r.Next()
		if err == io.EOF {
			return most
		}
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(r.buf.data))
	}
}

// A buffer grows to what an element needs and an eighth of it, not to the next power of two.
func TestBufferGrowsToWhatIsNeeded(t *testing.T) {
	for _, size := range []int{100 << 10, 1 << 20, maxFrame - 10} {
		body := fragmentBytes(1, "small", string(make([]byte, size)))
		for way, src := range splits(body) {
			if way == "one byte" && size > 1<<20 {
				continue // a megabyte shows whether the time rises with the square of the size
			}
			if got, most := readAll(t, NewReader(src)), size+size/8+2*lookback; got > most {
				t.Errorf("a frame of %d bytes, %s: a buffer of %d bytes", size, way, got)
			}
		}
	}
}

// The memory of a large frame is given back when two fragments did not need it.
func TestMemoryOfALargeFrameIsGivenBack(t *testing.T) {
	budget := NewBudget(64 << 20)
	large, small := fragmentBytes(1, string(make([]byte, 15<<20))), fragmentBytes(2, "small")
	body := join(large, bytes.Repeat(small, 10))
	r := NewReader(bytes.NewReader(body), WithBudget(budget))
	if most := readAll(t, r); most < 15<<20 {
		t.Errorf("at most %d bytes: the large frame did not come", most)
	}
	if got := len(r.buf.data); got > startBuffer {
		t.Errorf("%d bytes held", got)
	}
	if got := budget.Used(); got != 0 {
		t.Errorf("%d bytes of the budget used", got)
	}
}

// A stream with large key frames allocates its buffer once, not with every fragment.
func TestLargeKeyFramesAllocateOnce(t *testing.T) {
	fragment := fragmentBytes(1, string(make([]byte, 1<<20)), strings.Repeat("p", 20<<10), "b")
	pauses := fragmentBytes(2, "only small frames")
	r := NewReader(bytes.NewReader(bytes.Repeat(join(fragment, fragment, pauses), 20)))
	grown, length := 0, 0
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(r.buf.data) != length {
			grown, length = grown+1, len(r.buf.data)
		}
	}
	if length < 1<<20 {
		t.Errorf("the buffer has %d bytes", length)
	}
	if grown > 2 { // at the start, and for the first key frame
		t.Errorf("the buffer changed its size %d times", grown)
	}
}

// Readers with one budget hold no more than it allows. A frame that finds no memory costs its fragment and is reported;
// the next fragments are read.
func TestBudget(t *testing.T) {
	const mib = 1 << 20
	budget := NewBudget(20 * mib)
	body := join(fragmentBytes(1, string(make([]byte, 12*mib))), fragmentBytes(2, "small"))
	first := NewReader(bytes.NewReader(body), WithBudget(budget))
	next := func(r *Reader) Event {
		ev, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	for {
		if f, ok := next(first).(*Frame); ok && len(f.Data) == 12*mib {
			break
		}
	}
	if got := budget.Used(); got < 11*mib || got > 14*mib {
		t.Errorf("%d bytes used for a frame of 12 MiB", got)
	}

	second := NewReader(bytes.NewReader(body), WithBudget(budget))
	var fault error
	small := false
	for fault == nil || !small {
		switch ev := next(second).(type) {
		case *Frame:
			small = string(ev.Data) == "small"
			if !small {
				t.Error("a frame of 12 MiB came although 8 MiB were left")
			}
		case *End:
			if ev.Err != nil {
				fault = ev.Err
			}
		}
		if budget.Used() > 20*mib {
			t.Fatalf("%d bytes used", budget.Used())
		}
	}
	if !strings.Contains(fault.Error(), "memory") {
		t.Errorf("the fault is %v", fault)
	}

	first.Close()
	second.Close()
	if got := budget.Used(); got != 0 {
		t.Errorf("%d bytes used after both were closed", got)
	}
	if _, err := first.Next(); err == nil {
		t.Error("a closed reader goes on")
	}
	third := NewReader(bytes.NewReader(body), WithBudget(budget))
	if most := readAll(t, third); most < 12*mib {
		t.Error("no memory for a third reader after the others were closed")
	}
	third.Close()
	third.Close()
	if got := budget.Used(); got != 0 {
		t.Errorf("%d bytes used after a reader was closed twice", got)
	}
}
