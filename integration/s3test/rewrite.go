package s3test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Rewriter changes an answer of the server. The request is resp.Request, as the
// server got it. An error breaks the client's connection.
type Rewriter func(resp *http.Response) error

// Rewrite has a function change every answer of the server from now on, before
// the client gets it, after those that were added before, until remove is called.
func (p *Proxy) Rewrite(f Rewriter) (remove func()) {
	return added(p, &p.rewriters, f)
}

// Alter has a function change every request from now on that no interceptor
// answers, before the server gets it, until remove is called. If it changes what
// the client has signed, it signs anew with Server.Sign.
func (p *Proxy) Alter(f func(r *http.Request)) (remove func()) {
	return added(p, &p.alterers, f)
}

// Sign signs a request, whose body must be as it came, as the user who may do
// everything.
func (s *Server) Sign(r *http.Request) {
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
	r.Header.Del("Authorization")
	err := signer.SignHTTP(context.Background(), credentials, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", s.Region, time.Now())
	if err != nil {
		panic(err) // only credentials that must be fetched can fail
	}
}

// DropMetadata is for Alter: it makes the server one that stores no metadata of users.
func (s *Server) DropMetadata(r *http.Request) {
	if !HasHeader("X-Amz-Meta-").Match(r) {
		return
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			r.Header.Del(name)
		}
	}
	s.Sign(r)
}

// AnswersTo limits a rewriter to the answers to some requests.
func AnswersTo(m Matcher, f Rewriter) Rewriter {
	return func(resp *http.Response) error {
		if !m.Match(resp.Request) {
			return nil
		}
		return f(resp)
	}
}

// MapHeader changes the value of a header, if the answer has it. An empty value
// takes it away.
func MapHeader(name string, f func(value string) string) Rewriter {
	return func(resp *http.Response) error {
		value := resp.Header.Get(name)
		if value == "" {
			return nil
		}
		resp.Header.Del(name)
		if value = f(value); value != "" {
			resp.Header.Set(name, value)
		}
		return nil
	}
}

// Drop is for MapHeader and what else has a value that may be missing.
func Drop(string) string { return "" }

// Retime makes a function that writes a time, of a header or of a listing, in
// another way.
func Retime(f func(t time.Time) string) func(value string) string {
	return func(value string) string {
		t, err := http.ParseTime(value)
		if err != nil {
			t, err = time.Parse(time.RFC3339, value)
		}
		if err != nil {
			panic(fmt.Sprintf("%q is no time that a server gives", value))
		}
		return f(t.UTC())
	}
}

// MapBody changes the body of an answer of success, of which it must have room in
// memory.
func MapBody(f func(body []byte) ([]byte, error)) Rewriter {
	return func(resp *http.Response) error {
		if resp.StatusCode >= 300 || resp.Request.Method == http.MethodHead {
			return nil
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if body, err = f(body); err != nil {
			return err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		resp.ContentLength = int64(len(body))
		resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
}

// ShiftRange claims of every part of an object that it begins n bytes further on.
func ShiftRange(n int64) Rewriter {
	return MapHeader("Content-Range", func(value string) string {
		var first, last int64
		var size string
		if _, err := fmt.Sscanf(value, "bytes %d-%d/%s", &first, &last, &size); err != nil {
			return value
		}
		return fmt.Sprintf("bytes %d-%d/%s", first+n, last+n, size)
	})
}
