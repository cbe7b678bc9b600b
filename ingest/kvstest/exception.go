package kvstest

import (
	"encoding/json"
	"net/http"
)

// Exception is how the service refuses a call.
type Exception struct {
	Status  int
	Type    string // as in the error type header; "" sends no such header
	Message string
}

func (e *Exception) Error() string { return e.Type + ": " + e.Message }

// The refusals of the API reference, and what AWS answers before a call comes so far.
var (
	ClientLimitExceeded     = &Exception{400, "ClientLimitExceededException", "Rate exceeded: 5 calls a second and stream are allowed"}
	ConnectionLimitExceeded = &Exception{400, "ConnectionLimitExceededException", "The stream has as many connections as it may have"}
	InvalidEndpoint         = &Exception{400, "InvalidEndpointException", "Call GetDataEndpoint and use the endpoint it answers"}
	InvalidArgument         = invalidArgument("The value for this input parameter is invalid")
	NotAuthorized           = &Exception{401, "NotAuthorizedException", "The caller is not authorized to perform this operation on the stream"}
	AccessDenied            = &Exception{403, "AccessDeniedException", "User is not authorized to perform this operation on the stream"}
	ExpiredToken            = &Exception{403, "ExpiredTokenException", "The security token included in the request is expired"}
	UnrecognizedClient      = &Exception{403, "UnrecognizedClientException", "The security token included in the request is invalid"}
	InvalidSignature        = invalidSignature("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	MissingAuthentication = &Exception{403, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	ResourceNotFound      = &Exception{404, "ResourceNotFoundException", "The requested stream is not found or not active"}
	InternalFailure       = &Exception{500, "InternalFailure", "An internal error occurred"}
	ServiceUnavailable    = &Exception{503, "ServiceUnavailableException", "The service is unavailable"}
)

// Exceptions are all of the above.
func Exceptions() []*Exception {
	return []*Exception{
		ClientLimitExceeded, ConnectionLimitExceeded, InvalidEndpoint, InvalidArgument, NotAuthorized, AccessDenied, ExpiredToken,
		UnrecognizedClient, InvalidSignature, MissingAuthentication, ResourceNotFound, InternalFailure, ServiceUnavailable,
	}
}

// staleToken answers a continuation token that leads nowhere any more.
var staleToken = invalidArgument("ContinuationToken is not valid for the stream")

var unknownOperation = &Exception{
	404, "UnknownOperationException", "The simulator serves POST /getDataEndpoint, /describeStream, /listStreams and /getMedia",
}

func invalidArgument(message string) *Exception {
	return &Exception{400, "InvalidArgumentException", message}
}

func serialization(message string) *Exception {
	return &Exception{400, "SerializationException", message}
}

func invalidSignature(message string) *Exception {
	return &Exception{403, "InvalidSignatureException", message}
}

// refuse answers with an exception.
func (s *Server) refuse(w http.ResponseWriter, call *record, e *Exception) {
	call.update(func(c *Call) { c.Status, c.ErrorType = e.Status, e.Type })
	w.Header().Set("Content-Type", "application/json")
	if e.Type != "" {
		w.Header().Set(s.headers.errorType, e.Type)
	}
	w.WriteHeader(e.Status)
	// A client that has gone needs no answer.
	_ = json.NewEncoder(w).Encode(struct{ Message string }{e.Message})
}
