package web

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// patience is how long an answer may take on a busy machine, and still less than an idle connection may stay.
const patience = 40 * time.Second

// serving has a handler answer at an address until the test ends.
func serving(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, handler) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// request sends the beginning of a request on a connection of its own, which stays open.
func request(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

const wholeRequest = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

// Whoever holds connections, idle ones or requests that never end, does not keep others out.
func TestConnectionsThatAreOnlyHeld(t *testing.T) {
	address := serving(t, New(Options{Source: newBox()}))
	for i := range 3 * connections {
		if i%3 == 0 {
			request(t, address, "GET /healthz HTTP/1.1\r\nX-Slow: ")
			continue
		}
		conn := request(t, address, wholeRequest)
		if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 200 OK"))); err != nil {
			t.Fatalf("request %d is not answered: %v", i, err)
		}
	}
}

// A connection whose request is being answered stays, and another one waits for it.
func TestConnectionsThatAreServed(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	address := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-end
		fmt.Fprint(w, "done")
	}))
	var conns []net.Conn
	for range connections {
		conns = append(conns, request(t, address, wholeRequest))
		<-begun
	}
	conns = append(conns, request(t, address, wholeRequest))
	end <- struct{}{}
	<-begun // the one that waited
	for range connections {
		end <- struct{}{}
	}
	for i, conn := range conns {
		if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 200 OK"))); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
}
