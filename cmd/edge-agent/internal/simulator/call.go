package simulator

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"net/http"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// callFault makes what happens to the next calls of an operation.
func (r *scriptReader) callFault(at string, e eventScript) func(*kvstest.Stream) {
	n, d := max(1, e.Count), time.Duration(e.For)
	operation := oneOf(r, at+".operation", e.Operation, map[string]string{
		"": "GetMedia", "GetMedia": "GetMedia", "GetDataEndpoint": "GetDataEndpoint",
	})
	media := operation == "GetMedia"
	switch e.Do {
	case "misdirect":
		if e.Endpoint != nil {
			return func(s *kvstest.Stream) { s.MisdirectTo(n, *e.Endpoint) }
		}
		return func(s *kvstest.Stream) { s.Misdirect(n) }
	case "ignore_selector":
		return func(s *kvstest.Stream) { s.IgnoreSelector(n) }
	case "hang":
		if media {
			return func(s *kvstest.Stream) { s.HangMedia(n, d) }
		}
		return func(s *kvstest.Stream) { s.HangEndpoint(n, d) }
	case "answer", "redirect":
		answer := r.answer(at, e)
		if media {
			return func(s *kvstest.Stream) { s.AnswerMedia(n, answer) }
		}
		return func(s *kvstest.Stream) { s.AnswerEndpoint(n, answer) }
	}
	exception := r.exception(at, e)
	if media {
		return func(s *kvstest.Stream) { s.RefuseMedia(n, exception) }
	}
	return func(s *kvstest.Stream) { s.RefuseEndpoint(n, exception) }
}

// exception is what an event refuses calls with: one of the service's or, with a status, any other.
func (r *scriptReader) exception(at string, e eventScript) *kvstest.Exception {
	known := map[string]*kvstest.Exception{}
	for _, x := range kvstest.Exceptions() {
		known[x.Type] = x
	}
	out := known[e.Exception]
	switch {
	case out == nil && e.Status == 0:
		oneOf(r, at+".exception", e.Exception, known)
		return nil
	case out == nil:
		out = &kvstest.Exception{Type: e.Exception, Message: "The call was refused by the script of the simulator"}
	}
	r.checkStatus(at, e.Status, 400, 599)
	return &kvstest.Exception{
		Status: cmp.Or(e.Status, out.Status), Type: out.Type, Message: cmp.Or(e.Message, out.Message),
	}
}

// answer is what an event answers calls with instead of the service.
func (r *scriptReader) answer(at string, e eventScript) kvstest.Answer {
	if e.Do == "redirect" {
		r.checkStatus(at, e.Status, 300, 399)
		out := kvstest.Answer{Status: cmp.Or(e.Status, http.StatusTemporaryRedirect), Header: http.Header{}}
		if e.Location != "" {
			out.Header.Set("Location", e.Location)
		}
		return out
	}
	r.checkStatus(at, e.Status, 200, 599)
	out := kvstest.Answer{
		Status: e.Status,
		Header: http.Header{"Content-Type": {cmp.Or(e.ContentType, "text/html; charset=utf-8")}},
		Body:   []byte(cmp.Or(e.Body, "<!DOCTYPE html>\n<html><body>This is not the service.</body></html>\n")),
	}
	if e.Gzip {
		out.Header.Set("Content-Encoding", "gzip")
		out.Body = compressed(out.Body)
	}
	return out
}

// checkStatus wants a status, if there is one, to be of a kind.
func (r *scriptReader) checkStatus(at string, status, least, most int) {
	if status != 0 && (status < least || status > most) {
		r.invalid(at+".status", fmt.Sprintf("= %d is not valid here", status), fmt.Sprintf("Use %d to %d.", least, most))
	}
}

func compressed(text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	// Writing to memory does not fail.
	_, _ = z.Write(text)
	_ = z.Close()
	return b.Bytes()
}
