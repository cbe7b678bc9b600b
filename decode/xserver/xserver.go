// Package xserver asks an X server whether it lets this user in, before GStreamer, which waits for ever, does.
package xserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// DialTimeout is how long a display server may take to answer.
const DialTimeout = time.Second

// An X server that answers may still refuse: every client shows a cookie (xauth(1)), which Xlib takes from the file in
// XAUTHORITY, or ~/.Xauthority. The sink only says that it could not open the display, so that is found out here.

// Server is how to reach an X server.
type Server struct {
	Network, Address string // of its socket
	Number           string // of the display
	Getenv           func(string) string
}

// Name tells servers, and the files with their cookies, apart.
type Name struct{ Address, Authority string }

// Name tells this server apart from others.
func (s Server) Name() Name { return Name{s.Address, s.authority()} }

// Refused is the reason that an X server gives for a connection that it refuses.
type Refused string

func (e Refused) Error() string { return string(e) }

// Access connects to the server as Xlib does. The error is a Refused when the server answers and refuses.
//
// The connection is to be closed once another client is connected: a server whose last client leaves begins again, and
// closes the connections that are made meanwhile.
func (s Server) Access() (net.Conn, error) {
	conn, err := net.DialTimeout(s.Network, s.Address, DialTimeout)
	if err != nil {
		return nil, err
	}
	if err := s.logIn(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s Server) logIn(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(DialTimeout)); err != nil {
		return err
	}
	var name string
	var cookie []byte
	// A file that cannot be read is as good as none: some servers let their own user in without a cookie.
	if file, err := os.ReadFile(s.authority()); err == nil {
		name, cookie = xCookie(file, s.families(conn), s.Number)
	}
	if _, err := conn.Write(xSetup(name, cookie)); err != nil {
		return err
	}
	return xAnswer(conn)
}

// authority is the file with the cookies.
func (s Server) authority() string {
	if file := s.Getenv("XAUTHORITY"); file != "" {
		return file
	}
	return filepath.Join(s.Getenv("HOME"), ".Xauthority")
}

// xFamily is how an entry of the file names a host.
type xFamily struct {
	family  uint16
	address string
}

// The families of X (Xauth.h) that sockets of Unix and TCP have.
const (
	xInternet  = 0
	xInternet6 = 6
	xLocal     = 256
	xWild      = 65535
)

// families are the names under which the file may have the server: its address, or this host's name for one on this
// machine.
func (s Server) families(conn net.Conn) []xFamily {
	tcp, _ := conn.RemoteAddr().(*net.TCPAddr)
	switch {
	case tcp == nil || tcp.IP.IsLoopback():
		host, _ := os.Hostname() // "": no entry is of this host
		return []xFamily{{xLocal, host}}
	case tcp.IP.To4() != nil:
		return []xFamily{{xInternet, string(tcp.IP.To4())}}
	}
	return []xFamily{{xInternet6, string(tcp.IP.To16())}}
}

// xCookie finds the first entry for a display: a 16-bit family, and address, number, name and data with a 16-bit length
// each, all big endian. An entry without a number is for every display.
func xCookie(file []byte, families []xFamily, number string) (name string, cookie []byte) {
	for len(file) >= 2 {
		of := xFamily{family: binary.BigEndian.Uint16(file)}
		file = file[2:]
		var fields [4][]byte
		for i := range fields {
			if len(file) < 2 || len(file)-2 < int(binary.BigEndian.Uint16(file)) {
				return "", nil // cut off
			}
			n := int(binary.BigEndian.Uint16(file))
			fields[i], file = file[2:2+n], file[2+n:]
		}
		of.address = string(fields[0])
		known := of.family == xWild
		for _, f := range families {
			known = known || f == of
		}
		if display := string(fields[1]); known && (display == "" || display == number) {
			return string(fields[2]), fields[3]
		}
	}
	return "", nil
}

// xSetup is the first message of a client (X Window System Protocol, chapter 8), little endian.
func xSetup(name string, cookie []byte) []byte {
	var b bytes.Buffer
	b.Write([]byte{'l', 0, 11, 0, 0, 0}) // byte order, protocol 11.0
	b.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(name))))
	b.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(cookie))))
	b.Write([]byte{0, 0})
	for _, field := range [][]byte{[]byte(name), cookie} {
		b.Write(field)
		b.Write(make([]byte, (4-len(field)%4)%4))
	}
	return b.Bytes()
}

// xAnswer reads the answer: a header of 8 bytes, and for a refusal its reason.
func xAnswer(r io.Reader) error {
	const failed, success = 0, 1
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("the X server does not answer: %w", err)
	}
	if head[0] == success {
		return nil
	}
	rest := make([]byte, 4*int(binary.LittleEndian.Uint16(head[6:])))
	n, _ := io.ReadFull(r, rest) // as much of the reason as comes
	if most := int(head[1]); head[0] == failed && n > most {
		n = most
	}
	return Refused(bytes.TrimRight(rest[:n], "\x00\n "))
}

// At finds the server of a DISPLAY.
func At(display string, getenv func(string) string) (Server, error) {
	network, address, number, err := xAddress(display)
	return Server{network, address, strconv.FormatUint(number, 10), getenv}, err
}

// NoAccess makes an error of an X server that cannot be used.
func (s Server) NoAccess(display string, err error) error {
	var refused Refused
	if !errors.As(err, &refused) {
		return &report.Error{Code: report.CodeNoDisplay, Message: "no X server answers at DISPLAY=" + display, Err: err}
	}
	file := s.authority()
	if _, err := os.Stat(file); err != nil {
		file += ", which does not exist"
	}
	return &report.Error{
		Code: report.CodeNoAccess, Err: err,
		Message: fmt.Sprintf("the X server at DISPLAY=%s refuses access; set XAUTHORITY to the cookie file of the user who "+
			"started it (now %s)", display, file),
	}
}

// xAddress finds the socket of an X display: ":0", "unix:0" and "host:0.1".
func xAddress(display string) (network, address string, number uint64, err error) {
	i := strings.LastIndexByte(display, ':')
	if i < 0 {
		return "", "", 0, fmt.Errorf("%q is not of the form host:number", display)
	}
	host := display[:i]
	text, _, _ := strings.Cut(display[i+1:], ".")
	number, err = strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", "", 0, fmt.Errorf("%q is not of the form host:number", display)
	}
	if host == "" || host == "unix" {
		return "unix", fmt.Sprintf("/tmp/.X11-unix/X%d", number), number, nil
	}
	return "tcp", fmt.Sprintf("%s:%d", host, 6000+number), number, nil
}
