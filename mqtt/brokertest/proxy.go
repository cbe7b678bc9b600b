package brokertest

import (
	"fmt"
	"net"
	"slices"
	"sync"
)

// Proxy forwards TCP connections, and can do to them what networks do. It starts a goroutine that
// accepts, and two for each connection; Close waits for all.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	pairs  []*pair
	left   int // bytes to forward until a connection is cut; 0 for no end
	closed bool
}

// pair is a connection from a client, and the one to the target that belongs to it.
type pair struct {
	client, target net.Conn
	stalled        chan struct{} // closed: nothing is forwarded any more
	once           sync.Once
}

// NewProxy forwards what connects to its Addr to the target, a host:port.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("brokertest: %w", err)
	}
	p := &Proxy{target: target, listener: l}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Stall leaves all connections open and forwards nothing on them any more, as when the other
// end has lost its power or a firewall has forgotten them. Those that come later are forwarded.
func (p *Proxy) Stall() {
	for _, each := range p.current() {
		each.stall()
	}
}

// Cut closes all connections. Those that come later are forwarded.
func (p *Proxy) Cut() {
	for _, each := range p.current() {
		each.close()
	}
}

// CutAfter cuts the connection on which the nth byte from now on is forwarded, behind that byte. Both
// directions and all connections count.
func (p *Proxy) CutAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// admit tells how many of n bytes may pass, and whether the connection is to be cut behind them.
func (p *Proxy) admit(n int) (pass int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 || n < p.left {
		p.left = max(0, p.left-n)
		return n, false
	}
	n, p.left = p.left, 0
	return n, true
}

// Close closes all connections and accepts no more.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) current() []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pairs)
}

// accept ends with the listener.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		target, err := net.Dial("tcp", p.target)
		if err != nil { // as if nobody listened
			client.Close()
			continue
		}
		p.add(&pair{client: client, target: target, stalled: make(chan struct{})})
	}
}

func (p *Proxy) add(each *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		each.close()
		return
	}
	p.pairs = append(p.pairs, each)
	p.running.Go(func() {
		p.forward(each)
		p.forget(each)
	})
}

func (p *Proxy) forget(gone *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pairs = slices.DeleteFunc(p.pairs, func(each *pair) bool { return each == gone })
}

// forward copies both ways until both ends are closed.
func (p *Proxy) forward(c *pair) {
	var back sync.WaitGroup
	back.Go(func() { p.copy(c, c.client, c.target) })
	p.copy(c, c.target, c.client)
	back.Wait()
}

// copy ends when one end closes, and then closes the other. What comes on a stalled connection is
// swallowed, its end too: neither side learns of the other any more.
func (p *Proxy) copy(c *pair, to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		switch {
		case c.isStalled() && err != nil:
			return
		case c.isStalled():
			continue
		}
		n, cut := p.admit(n)
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil || cut {
			c.close()
			return
		}
	}
}

func (c *pair) stall() { c.once.Do(func() { close(c.stalled) }) }

func (c *pair) isStalled() bool {
	select {
	case <-c.stalled:
		return true
	default:
		return false
	}
}

func (c *pair) close() {
	c.client.Close()
	c.target.Close()
}
