// Package secret reads passwords, keys and certificates as people and systemd hand them over: with byte order marks,
// with the line ends of other systems, as credentials of a service.
package secret

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// The byte order marks that editors on other systems put at the start of a text.
var (
	utf8Mark    = []byte{0xEF, 0xBB, 0xBF}
	utf16Little = []byte{0xFF, 0xFE} // Windows PowerShell 5 writes it with >
	utf16Big    = []byte{0xFE, 0xFF}
)

// ReadFile reads a password or PEM file. A byte order mark is not part of the text: with it a password is wrong,
// and PEM is not found.
func ReadFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := withoutMark(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// withoutMark is a text in UTF-8 without its byte order mark.
func withoutMark(raw []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(raw, utf16Little):
		order = binary.LittleEndian
	case bytes.HasPrefix(raw, utf16Big):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(raw, utf8Mark), nil
	}
	raw = raw[2:]
	if len(raw)%2 != 0 {
		return nil, fmt.Errorf("it is UTF-16 and ends in the middle of a character; save it as UTF-8")
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = order.Uint16(raw[2*i:])
	}
	return []byte(string(utf16.Decode(units))), nil
}

// FirstLine is a text up to its first line end, which may be that of Unix or of Windows.
func FirstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}

// Read reads a password or token: the first line of a file, or of a credential of systemd; see Credential.
func Read(path string) (string, error) {
	text, err := ReadFile(Credential(path))
	if err != nil {
		return "", err
	}
	secret := FirstLine(text)
	if secret == "" {
		return "", fmt.Errorf("%s: its first line is empty", path)
	}
	return secret, nil
}

// Credential is the path of a secret. systemd hands secrets over in a folder that only
// the service can read (LoadCredential= in the unit).
func Credential(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || strings.ContainsRune(name, filepath.Separator) {
		return name
	}
	return filepath.Join(dir, name)
}
