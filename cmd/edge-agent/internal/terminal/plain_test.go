package terminal

import (
	"reflect"
	"testing"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"grüße, 世界 → 5 µs":       "grüße, 世界 → 5 µs",
		"\x1b]0;title\x07":       "?]0;title?",
		"\x1b[2Jone\r\ntwo\tend": "?[2Jone  two end",
		"\u009b31m":              "?31m", // a control sequence in one character
		"\u202egnp.\u2066":       "?gnp.?",
		"\xff\x00":               "??",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDecodePlain(t *testing.T) {
	var got struct {
		N    int64          `json:"n"`
		List []string       `json:"list"`
		Map  map[string]any `json:"map"`
	}
	if err := DecodePlain([]byte(`{"n": 9223372036854775807, "list": ["a\nb"], "map": {"k\u001b": {"x": "\u0007"}}}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.N != 9223372036854775807 || got.List[0] != "a b" || !reflect.DeepEqual(got.Map, map[string]any{"k?": map[string]any{"x": "?"}}) {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"", "[", `{"n": "text"}`} {
		if DecodePlain([]byte(text), &got) == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
