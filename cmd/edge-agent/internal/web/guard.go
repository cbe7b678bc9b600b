package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/edge-agent/edge-agent/mqtt"
)

// Guard says who is answered.
type Guard struct {
	// Token is what has to be shown, as bearer token or as the password of any user; "" for none.
	Token string

	// LoopbackNames answers only requests that were sent to this machine by an address or as localhost. A page from
	// elsewhere can let a name of its own lead here and would read what the browser then gets (DNS rebinding).
	LoopbackNames bool
}

// host refuses requests to names that are not this machine's.
func (g Guard) host(next http.Handler) http.Handler {
	if !g.LoopbackNames {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackName(r.Host) {
			http.Error(w, "this address answers only for localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return mqtt.IsLoopback(strings.ToLower(host))
}

// token refuses requests that do not show the token.
func (g Guard) token(next http.Handler) http.Handler {
	if g.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(g.Token)) // of equal length, so that comparing takes the same time for all
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(shown(r)))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="edge-agent: any user, the token as password"`)
			http.Error(w, "the token of [http] token_file is needed, as bearer token or as password", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// shown is the token that a request shows.
func shown(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}
