// Package terminal makes texts of others fit to be printed: what a service, a camera, a broker or another agent says
// must neither steer the terminal of whoever reads it nor look like lines of this program.
package terminal

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Plain replaces what does not print: line ends by spaces, and control characters, marks that turn the direction of
// writing and bytes that are no text by question marks.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !strconv.IsPrint(r) || r == '\uFFFD':
			return '?'
		}
		return r
	}, s)
}

// DecodePlain decodes JSON, with Plain for every text in it.
func DecodePlain(text []byte, into any) error {
	var document any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // else large numbers lose digits
	if err := d.Decode(&document); err != nil {
		return err
	}
	plain, err := json.Marshal(plainValue(document))
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, into)
}

func plainValue(value any) any {
	switch value := value.(type) {
	case string:
		return Plain(value)
	case []any:
		for i := range value {
			value[i] = plainValue(value[i])
		}
	case map[string]any:
		plain := make(map[string]any, len(value))
		for key := range value {
			plain[Plain(key)] = plainValue(value[key])
		}
		return plain
	}
	return value
}
