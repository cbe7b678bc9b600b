package xserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// xEntry is an entry of a cookie file.
func xEntry(family uint16, address, number, name string, cookie []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, family)
	for _, field := range [][]byte{[]byte(address), []byte(number), []byte(name), cookie} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
	}
	return b
}

const xMagic = "MIT-MAGIC-COOKIE-1"

func TestXCookie(t *testing.T) {
	here := []xFamily{{xLocal, "box"}}
	other, zero, any1 := xEntry(xLocal, "other", "0", xMagic, []byte("A")), xEntry(xLocal, "box", "0", xMagic, []byte("B")), xEntry(xLocal, "box", "", xMagic, []byte("C"))
	wild := xEntry(xWild, "", "1", xMagic, []byte("D"))
	for name, c := range map[string]struct {
		file   []byte
		number string
		want   string
	}{
		"no file":        {nil, "0", ""},
		"of the display": {bytes.Join([][]byte{other, zero, any1}, nil), "0", "B"},
		"of any display": {bytes.Join([][]byte{other, zero, any1}, nil), "1", "C"},
		"of any host":    {bytes.Join([][]byte{zero, wild}, nil), "1", "D"},
		"of others":      {bytes.Join([][]byte{other, wild}, nil), "0", ""},
	} {
		name1, got := xCookie(c.file, here, c.number)
		if string(got) != c.want || (got != nil) != (name1 == xMagic) {
			t.Errorf("%s: %q %q, want %q", name, name1, got, c.want)
		}
		for n := range c.file { // cut off anywhere
			xCookie(c.file[:n], here, c.number)
		}
	}
}

func TestXAnswer(t *testing.T) {
	const refusal = "\x00\x05\x0b\x00\x00\x00\x02\x00no wa\x00\x00\x00"
	for name, c := range map[string]struct {
		answer string
		says   string
		err    error // "": none
	}{
		"accepted":    {"\x01\x00\x0b\x00\x00\x00\x02\x00", "", nil},
		"refused":     {refusal, "no wa", Refused("no wa")},
		"cut off":     {refusal[:10], "no", Refused("no")},
		"more wanted": {"\x02\x00\x00\x00\x00\x00\x01\x00ask\n", "ask", Refused("ask")},
		"hung up":     {"\x00\x05", "does not answer", io.ErrUnexpectedEOF},
	} {
		err := xAnswer(strings.NewReader(c.answer))
		if c.err == nil && err != nil || c.err != nil && (!errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
