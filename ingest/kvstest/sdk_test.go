package kvstest

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"
	"github.com/aws/smithy-go"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// sdk is the SDK's own client of a harness.
func (h *harness) sdk(c aws.Credentials) *kinesisvideo.Client {
	return kinesisvideo.New(kinesisvideo.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(h.server.URL()), RetryMaxAttempts: 1, HTTPClient: h.http,
		Credentials: credentials.StaticCredentialsProvider{Value: c},
	})
}

// TestSDK finds the endpoint of every API with the SDK's own client, by name and by ARN, over TCP.
func TestSDK(t *testing.T) {
	h := newTCPHarness(t, Config{Limits: Limits{Calls: 100}})
	stream := h.add("clock", StreamConfig{})
	client := h.sdk(Credentials())
	for _, name := range types.APIName("").Values() {
		for _, in := range []kinesisvideo.GetDataEndpointInput{
			{APIName: name, StreamName: aws.String("clock")},
			{APIName: name, StreamARN: aws.String(stream.ARN())},
		} {
			out, err := client.GetDataEndpoint(t.Context(), &in)
			if err != nil || *out.DataEndpoint != h.server.URL() {
				t.Errorf("%s: endpoint %v, %v", name, out, err)
			}
		}
	}
	_, err := client.GetDataEndpoint(t.Context(), &kinesisvideo.GetDataEndpointInput{
		APIName: types.APINameGetMedia, StreamName: aws.String("none"),
	})
	var notFound *types.ResourceNotFoundException
	calls := h.server.Calls()
	if !errors.As(err, &notFound) || !strings.Contains(err.Error(), calls[len(calls)-1].RequestID) {
		t.Errorf("the SDK reads the refusal as %v", err)
	}
}

// TestDescribe describes and lists streams with the SDK's own client.
func TestDescribe(t *testing.T) {
	h := newTCPHarness(t, Config{})
	began := time.Now().Truncate(time.Millisecond)
	stream := h.add("yard-1", StreamConfig{Retention: 48 * time.Hour})
	h.addSource("yard-2", clip.H265(), StreamConfig{})
	h.add("gate", StreamConfig{})
	h.add("absent", StreamConfig{Absent: true})
	client := h.sdk(Credentials())

	out, err := client.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("yard-1")})
	if err != nil {
		t.Fatal(err)
	}
	info := out.StreamInfo
	if *info.StreamName != "yard-1" || *info.StreamARN != stream.ARN() || info.Status != types.StatusActive ||
		*info.DataRetentionInHours != 48 || *info.MediaType != "video/h264" || *info.Version == "" || *info.KmsKeyId == "" {
		t.Errorf("described as %+v", info)
	}
	if created := *info.CreationTime; created.Before(began) || created.After(time.Now()) {
		t.Errorf("created %v, after %v", created, began)
	}
	version := *info.Version
	stream.Delete()
	var notFound *types.ResourceNotFoundException
	if _, err := client.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("yard-1")}); !errors.As(err, &notFound) {
		t.Errorf("the deleted stream: %v", err)
	}
	if err := stream.Create(nil); err != nil {
		t.Fatal(err)
	}
	out, err = client.DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamARN: aws.String(stream.ARN())})
	if err != nil || *out.StreamInfo.Version == version {
		t.Errorf("created again: %+v, %v", out, err)
	}

	list := func(in kinesisvideo.ListStreamsInput) (names []string) {
		t.Helper()
		pages := kinesisvideo.NewListStreamsPaginator(client, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if in.MaxResults != nil && len(page.StreamInfoList) > int(*in.MaxResults) {
				t.Errorf("a page of %d streams", len(page.StreamInfoList))
			}
			for _, i := range page.StreamInfoList {
				names = append(names, *i.StreamName)
			}
		}
		return names
	}
	all := []string{"gate", "yard-1", "yard-2"}
	if got := list(kinesisvideo.ListStreamsInput{}); !slices.Equal(got, all) {
		t.Errorf("listed %q, want %q", got, all)
	}
	if got := list(kinesisvideo.ListStreamsInput{MaxResults: aws.Int32(1)}); !slices.Equal(got, all) {
		t.Errorf("listed %q one by one, want %q", got, all)
	}
	yards := kinesisvideo.ListStreamsInput{StreamNameCondition: &types.StreamNameCondition{
		ComparisonOperator: types.ComparisonOperatorBeginsWith, ComparisonValue: aws.String("yard"),
	}}
	if got := list(yards); !slices.Equal(got, all[1:]) {
		t.Errorf("listed %q, want %q", got, all[1:])
	}
}

// TestSDKRefused has the SDK read the refusal of wrong credentials.
func TestSDKRefused(t *testing.T) {
	h := newTCPHarness(t, Config{})
	h.add("clock", StreamConfig{})
	own := Credentials()
	for want, c := range map[string]aws.Credentials{
		"UnrecognizedClientException": {AccessKeyID: "SOMEONE", SecretAccessKey: own.SecretAccessKey},
		"InvalidSignatureException":   {AccessKeyID: own.AccessKeyID, SecretAccessKey: "wrong"},
	} {
		_, err := h.sdk(c).DescribeStream(t.Context(), &kinesisvideo.DescribeStreamInput{StreamName: aws.String("clock")})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestTLS serves over TLS: the data endpoint is no step down to plain HTTP.
func TestTLS(t *testing.T) {
	server := NewServer(Config{})
	defer server.Close()
	source, err := ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Add("clock", source, StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewTLSServer(server)
	defer listener.Close()
	client := kinesisvideo.New(kinesisvideo.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(listener.URL), RetryMaxAttempts: 1, HTTPClient: listener.Client(),
		Credentials: credentials.StaticCredentialsProvider{Value: Credentials()},
	})
	out, err := client.GetDataEndpoint(t.Context(), &kinesisvideo.GetDataEndpointInput{
		APIName: types.APINameGetMedia, StreamName: aws.String("clock"),
	})
	if err != nil || *out.DataEndpoint != listener.URL {
		t.Errorf("endpoint %v, %v, want %s", out, err, listener.URL)
	}
}
