package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// noAnswer says why a call got no answer: what failed, and what to do.
func noAnswer(err error) *Error {
	host := "the service"
	var u *url.Error
	if errors.As(err, &u) {
		if parsed, bad := url.Parse(u.URL); bad == nil && parsed.Host != "" {
			host = parsed.Host
		}
	}
	if text := certificateText(err); text != "" {
		return &Error{Code: CodeTLS, Message: "no secure connection to " + host + ": " + text, Err: err}
	}
	return &Error{Code: CodeUnreachable, Message: "no answer from " + host + ": " + networkText(err), Err: err}
}

// certificateText says what is wrong with TLS; "" when it is not TLS.
func certificateText(err error) string {
	var (
		name     x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		alert    tls.AlertError
		notTLS   tls.RecordHeaderError
		noRoots  x509.SystemRootsError
		subject  = func(c *x509.Certificate) string { return quoted(c.Subject.String(), maxMessage) }
		validity = func(c *x509.Certificate) string {
			return c.NotBefore.UTC().Format(time.DateOnly) + " to " + c.NotAfter.UTC().Format(time.DateOnly)
		}
	)
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for another name: it names %s; check the endpoint, DNS and proxies",
			quoted(certificateNames(name.Certificate), maxMessage))
	case errors.As(err, &unknown):
		return "the certificate is signed by an unknown authority; if a proxy inspects TLS here, install its CA certificate on the box"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s is valid from %s, and the box's clock says %s; check the clock",
			subject(invalid.Cert), validity(invalid.Cert), time.Now().UTC().Format(time.DateTime))
	case errors.As(err, &invalid):
		return "the certificate is not valid: " + readable(invalid.Error(), maxMessage)
	case errors.As(err, &noRoots):
		return "the box has no CA certificates; install the package ca-certificates"
	case errors.As(err, &verify):
		return "the certificate is not valid: " + readable(verify.Err.Error(), maxMessage)
	case errors.As(err, &alert):
		return "the other side refused the TLS connection: " + readable(alert.Error(), maxMessage)
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "the other side does not speak TLS; check the endpoint, the port and proxies"
	}
	return ""
}

func certificateNames(c *x509.Certificate) string {
	names := c.Subject.CommonName
	for i, n := range c.DNSNames {
		if i == 0 {
			names = n
			continue
		}
		names += ", " + n
	}
	return names
}

// networkText says what failed on the way to the service.
func networkText(err error) string {
	var (
		dns     *net.DNSError
		op      *net.OpError
		timeout net.Error
	)
	late := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	proxied := errors.As(err, &op) && op.Op == "proxyconnect"
	dialling := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("DNS does not know the name %s; check the region, the endpoint and the DNS server", quoted(dns.Name, maxMessage))
	case errors.As(err, &dns):
		return "the DNS server does not answer; check the network and the DNS server of the box"
	case proxied:
		return "the proxy does not connect; check HTTPS_PROXY and the proxy"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused; check the endpoint, its port and the firewall"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "there is no route; check the cable, the address and the gateway of the box"
	case late && dialling:
		return "no connection within the time limit; check the firewall (TCP 443) and the network"
	case late:
		return "the connection was made, but no answer came within the time limit; check the network and proxies"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset before an answer came; check the firewall and proxies"
	}
	return "the connection ended before an answer came; check the network and proxies"
}
