package config

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Limits of a TOML file, checked before it is parsed: the parser is recursive, and takes memory that grows with the
// square of the parts of a key.
const (
	maxSize    = 256 << 10 // bytes; a stream takes some 200
	maxNesting = 16        // of lists and tables in each other, and of the parts of a key; the configuration has 3
)

// ReadTOML reads a file of at most maxConfigSize. A larger one is an error.
func ReadTOML(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1)) // the size of a device or a FIFO is not known before
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("it has more than %d KiB", maxSize>>10)
	}
	return string(text), err
}

// CheckNesting returns the line, from 1, in which a text passes maxNesting, or 0. It follows strings and comments
// as TOML has them. A text that is not valid TOML may be read differently only behind the place where the parser stops.
func CheckNesting(text string) (line int) {
	line = 1
	depth, dots := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			line++
			dots = 0
		case '#':
			i += lengthUntil(text[i:], "\n") - 1
		case '"', '\'':
			length := stringLength(text[i:])
			line += strings.Count(text[i:i+length], "\n")
			i += length - 1
		case '[', '{':
			depth++
			dots = 0
		case ']', '}':
			depth = max(0, depth-1)
			dots = 0
		case ',', '=':
			dots = 0
		case '.':
			dots++
		}
		if depth > maxNesting || dots >= maxNesting {
			return line
		}
	}
	return 0
}

// stringLength is the length of the string that a text begins with, including its quotes. A string of one line ends
// with it.
func stringLength(text string) int {
	quote := text[:1]
	long := strings.HasPrefix(text, strings.Repeat(quote, 3))
	end := quote
	if long {
		end = strings.Repeat(quote, 3)
	}
	for i := len(end); i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == `"`:
			i++
		case text[i] == '\n' && !long:
			return i
		case strings.HasPrefix(text[i:], end):
			return i + len(end)
		}
	}
	return len(text)
}

// lengthUntil is where a mark begins in a text, or the length of the text.
func lengthUntil(text, mark string) int {
	if i := strings.Index(text, mark); i >= 0 {
		return i
	}
	return len(text)
}

// TooNested says where a file nests deeper than anything in it has to.
func TooNested(file string, line int) *Error {
	return &Error{
		Code: CodeSyntax, File: file, Line: line,
		Message: fmt.Sprintf("lists, tables or the parts of a key are nested more than %d deep", maxNesting),
		Action:  "Write it flat: no key of the configuration needs more than 3.",
	}
}
