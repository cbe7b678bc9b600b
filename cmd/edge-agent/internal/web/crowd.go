package web

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// connections is how many there may be at a time.
const connections = 32

// crowd is a listener that bounds how many connections there are. One more takes the place of the one that has been
// there for longest without a request that is being answered: whoever only holds connections cannot keep out the
// others, such as the one that ends an agent which does not say that it is well.
type crowd struct {
	net.Listener

	mu     sync.Mutex
	left   *sync.Cond // somebody has left or can be sent away
	guests []*guest   // oldest first
}

type guest struct {
	net.Conn
	crowd   *crowd
	serving bool // guarded by the crowd's mu
}

func newCrowd(l net.Listener) *crowd {
	c := &crowd{Listener: l}
	c.left = sync.NewCond(&c.mu)
	return c
}

// Accept waits while all connections have requests that are being answered.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: conn, crowd: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.guests) >= connections && !c.sendAway() {
		c.left.Wait()
	}
	c.guests = append(c.guests, g)
	return g, nil
}

// sendAway closes the oldest connection without a request that is being answered. It says whether there was one.
func (c *crowd) sendAway() bool {
	i := slices.IndexFunc(c.guests, func(g *guest) bool { return !g.serving })
	if i < 0 {
		return false
	}
	_ = c.guests[i].Conn.Close()
	c.guests = slices.Delete(c.guests, i, i+1)
	return true
}

func (g *guest) Close() error {
	c := g.crowd
	c.mu.Lock()
	if i := slices.Index(c.guests, g); i >= 0 {
		c.guests = slices.Delete(c.guests, i, i+1)
	}
	c.left.Signal()
	c.mu.Unlock()
	return g.Conn.Close()
}

// guestKey is the context key of a request's connection.
type guestKey struct{}

func withGuest(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, conn)
}

// serve has connections stay from when a whole request is there, until noteState hears that the answer went out.
func serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(guestKey{}).(*guest).serve(true)
		next.ServeHTTP(w, r)
	})
}

func noteState(conn net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		conn.(*guest).serve(false)
	}
}

func (g *guest) serve(serving bool) {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.serving = serving
	g.crowd.left.Signal()
}
