package kvstest

import (
	"context"
	"net"
	"sync"
)

// Pipe is a network in memory: what is dialled is accepted. It has no buffers and its waits are waits on channels,
// which is what a testing/synctest bubble needs for its time to go on.
//
//	pipe := kvstest.NewPipe()
//	server.Serve(pipe)
//	client := &http.Client{Transport: &http.Transport{DialContext: pipe.DialContext}}
type Pipe struct {
	dialled chan net.Conn
	closed  chan struct{}
	close   sync.Once
}

// NewPipe makes a Pipe.
func NewPipe() *Pipe {
	return &Pipe{dialled: make(chan net.Conn), closed: make(chan struct{})}
}

// DialContext connects, whatever the address is.
func (p *Pipe) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.dialled <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for a connection to be dialled.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialled:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and DialContext; connections stay.
func (p *Pipe) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

// Addr is an address to put into URLs.
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "kvs.test" }
