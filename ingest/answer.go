package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Bounds on what is read of an answer that is not a stream.
const (
	maxErrorBody   = 16 << 10
	errorBodyTime  = 3 * time.Second
	maxHeaderBytes = 64 << 10
	maxMessage     = 300 // characters of a message of the service in a report
	maxOpening     = 48  // bytes of an answer in a report
)

// checkStream holds an answer to GetMedia to be a stream: status 200, not encoded, of a type that Matroska can have.
// What its first bytes are is seen when they come, see opening. The caller ends the reading of the body after
// errorBodyTime.
func checkStream(resp *http.Response) error {
	location := resp.Header.Get("Location")
	redirect := resp.StatusCode/100 == 3
	encoding := resp.Header.Get("Content-Encoding")
	switch {
	case redirect:
		return notStream(resp, "redirects to "+quoted(location, maxOpening*2)+", which is not followed with a signed request")
	case resp.StatusCode != http.StatusOK:
		return nil
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return notStream(resp, "sends content encoding "+quoted(encoding, maxOpening))
	case !streamType(resp.Header.Get("Content-Type")):
		return notStream(resp, "does not send a stream")
	}
	return nil
}

// streamType says whether a body of a type may be Matroska. The API reference gives no list, and "video/webm" was seen;
// a type that cannot be read is taken, as the bytes decide in the end.
func streamType(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if contentType == "" || err != nil {
		return true
	}
	main, sub, _ := strings.Cut(kind, "/")
	switch main {
	case "video", "audio":
		return true
	case "application", "binary":
		return sub == "octet-stream" || strings.Contains(sub, "matroska")
	case "text", "image", "font", "message", "multipart", "model":
		return false
	}
	return true // such as "h264": the reference's pattern has no slash
}

// notStream is the error of an answer that is not a stream. It reads the first bytes of its body.
func notStream(resp *http.Response, what string) error {
	head := make([]byte, maxOpening)
	n, _ := io.ReadFull(resp.Body, head)
	return &Error{
		Code: CodeNotStream, Status: resp.StatusCode,
		Message: fmt.Sprintf("%s %s (status %d, content type %s, first bytes %s)", resp.Request.URL.Host, what,
			resp.StatusCode, quoted(resp.Header.Get("Content-Type"), maxOpening), quoted(string(head[:n]), maxOpening)),
	}
}

// opening is a body whose first bytes have to be those of Matroska: an EBML header's, after NULs that the parser skips
// too.
type opening struct {
	body    io.Reader
	resp    *http.Response
	matched int
}

var ebmlMagic = []byte{0x1A, 0x45, 0xDF, 0xA3}

func (o *opening) Read(p []byte) (int, error) {
	n, err := o.body.Read(p)
	for i := 0; i < n && o.matched < len(ebmlMagic); i++ {
		switch {
		case p[i] == ebmlMagic[o.matched]:
			o.matched++
		case p[i] != 0 || o.matched > 0:
			return 0, o.fault(append(append([]byte(nil), ebmlMagic[:o.matched]...), p[i:n]...))
		}
	}
	if err == io.EOF && o.matched > 0 && o.matched < len(ebmlMagic) {
		return 0, o.fault(ebmlMagic[:o.matched])
	}
	return n, err
}

func (o *opening) fault(head []byte) error {
	return &Error{
		Code: CodeNotStream, Status: o.resp.StatusCode,
		Message: fmt.Sprintf("%s sends data that is not Matroska (content type %s, first bytes %s)", o.resp.Request.URL.Host,
			quoted(o.resp.Header.Get("Content-Type"), maxOpening), quoted(string(head), maxOpening)),
	}
}

// exception reads a refusal of GetMedia: the name from the header or the body, the rest
// from the body.
func exception(resp *http.Response, requestID string) *Error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var body struct {
		Message string // matches "message" too
		Type    string `json:"__type"`
	}
	_ = json.Unmarshal(raw, &body) // a body that is no JSON leaves the status to tell
	name := exceptionOf(resp.Header)
	if name == "" {
		name = bareName(body.Type)
	}
	message := readable(body.Message, maxMessage)
	if message == "" {
		message = fmt.Sprintf("%s answers with status %d", resp.Request.URL.Host, resp.StatusCode)
	}
	return &Error{
		Code: prefixHTTP + exceptionName(name, resp.StatusCode), Status: resp.StatusCode,
		RequestID: readable(requestID, maxRequestID), Message: message,
	}
}

// exceptionOf is the name of an error that headers give; "" if none.
func exceptionOf(h http.Header) string {
	return bareName(anyHeader(h, "x-amzn-ErrorType", "x-amz-ErrorType"))
}

// bareName takes away what stands around the name of an error: "…Exception:http://…" and "com.amazonaws…#…Exception"
// both occur.
func bareName(name string) string {
	name, _, _ = strings.Cut(name, ":")
	return name[strings.LastIndex(name, "#")+1:]
}

// maxRequestID bounds a request id, which has 36 characters, in a report.
const maxRequestID = 64

var exceptionPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,63}$`) })

// exceptionName is the name of an error as part of a code: what the service calls it, if that is short and made of
// letters, digits, '_' and '.', otherwise the status.
func exceptionName(name string, status int) string {
	if name = strings.TrimSpace(name); exceptionPattern().MatchString(name) {
		return name
	}
	return strconv.Itoa(status)
}

// readable makes text of others fit for a message: at most n characters, none of them a control character.
func readable(s string, n int) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		if n--; n < 0 {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// quoted shows at most n bytes of s as a Go string.
func quoted(s string, n int) string {
	if len(s) > n {
		return strconv.QuoteToASCII(s[:n]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

func anyHeader(h http.Header, names ...string) string {
	for _, n := range names {
		if v := h.Get(n); v != "" {
			return v
		}
	}
	return ""
}

// boundedTransport cuts answers off after maxAnswer bytes: the SDK reads an answer as a whole.
type boundedTransport struct{ http.RoundTripper }

const maxAnswer = 64 << 10

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

var errAnswerSize = errors.New("the answer is longer than " + strconv.Itoa(maxAnswer) + " bytes")

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerSize
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
