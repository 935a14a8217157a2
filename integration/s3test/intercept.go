package s3test

import (
	"encoding/xml"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Interceptor answers a request in the server's place and returns true, or
// returns false without having touched it. Several may run at once.
type Interceptor func(w http.ResponseWriter, r *http.Request) bool

// Intercept has an interceptor asked about every request from now on, after
// those that were added before, until remove is called.
func (p *Proxy) Intercept(f Interceptor) (remove func()) {
	return added(p, &p.interceptors, f)
}

// FailFraction answers a share of all requests with an error, chosen at random,
// but by seed the same in every run that has the same requests.
func (p *Proxy) FailFraction(status int, code string, fraction float64, seed uint64) (remove func()) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	fail := Fail(status, code)
	return p.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		chosen := rng.Float64() < fraction
		mu.Unlock()
		return chosen && fail(w, r)
	})
}

// On limits an interceptor to an operation, or to what else a matcher matches.
func On(m Matcher, f Interceptor) Interceptor {
	return func(w http.ResponseWriter, r *http.Request) bool { return m.Match(r) && f(w, r) }
}

// Times limits an interceptor to its first n answers.
func Times(n int64, f Interceptor) Interceptor {
	var left atomic.Int64
	left.Store(n)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if left.Add(-1) >= 0 && f(w, r) {
			return true
		}
		left.Add(1)
		return false
	}
}

// Fail answers with an error, such as 403 AccessDenied, 503 SlowDown, or 408
// RequestCanceled. With 200, the error stands where its client looks for success.
func Fail(status int, code string) Interceptor {
	return FailSaying(status, code, "the test wants it so")
}

// FailSaying is Fail with a message.
func FailSaying(status int, code, message string) Interceptor {
	return func(w http.ResponseWriter, r *http.Request) bool {
		// Who is answered while still sending may see the connection break
		// instead.
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodHead {
			w.WriteHeader(status) // which has no room for the code
			return true
		}
		writeXML(w, status, struct {
			XMLName   xml.Name `xml:"Error"`
			Code      string
			Message   string `xml:",omitempty"`
			Resource  string
			RequestID string `xml:"RequestId"`
		}{Code: code, Message: message, Resource: r.URL.Path, RequestID: "s3test"})
		return true
	}
}

// Hang answers nothing, until the client gives up or the test ends.
func (p *Proxy) Hang() Interceptor {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		// Only behind the body does the server notice that a client has gone.
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-p.done:
		}
		panic(http.ErrAbortHandler)
	}
}

// Stall leaves every n-th request that it sees without an answer for a time, and then passes
// it on, unless the client has given it up.
func (p *Proxy) Stall(n int64, d time.Duration) Interceptor {
	var seen atomic.Int64
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if seen.Add(1)%n != 0 {
			return false
		}
		select {
		case <-time.After(d):
			return false
		case <-r.Context().Done():
		case <-p.done:
		}
		panic(http.ErrAbortHandler)
	}
}

// Break closes the connection without an answer, or resets it.
func Break(reset bool) Interceptor {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		abort(w, reset)
		return true
	}
}

// CutBodies breaks off every answer of an object's content that is longer than n
// bytes behind the first n. With reset, the connection is reset, else closed.
func (p *Proxy) CutBodies(n int64, reset bool) (remove func()) {
	return p.Intercept(On(GetObject, func(w http.ResponseWriter, r *http.Request) bool {
		p.handler.ServeHTTP(&cutter{ResponseWriter: w, reset: reset, left: n}, r)
		return true
	}))
}

// cutter is a response that breaks behind some bytes.
type cutter struct {
	http.ResponseWriter
	reset bool

	// mu keeps the reverse proxy, which flushes from a goroutine of its own,
	// off a connection that is taken away from the server.
	mu   sync.Mutex
	left int64
	cut  bool
}

// Write implements io.Writer.
func (c *cutter) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return 0, io.ErrClosedPipe
	}
	if int64(len(data)) <= c.left {
		c.left -= int64(len(data))
		return c.ResponseWriter.Write(data)
	}
	c.cut = true
	_, _ = c.ResponseWriter.Write(data[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	abort(c.ResponseWriter, c.reset)
	return 0, io.ErrClosedPipe
}

// FlushError is for http.ResponseController.
func (c *cutter) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return io.ErrClosedPipe
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// abort ends a connection. It returns only if it has reset it.
func abort(w http.ResponseWriter, reset bool) {
	if reset {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// IgnoreRanges answers requests for a part of an object with all of it and the
// status 200, as some proxies do.
func IgnoreRanges(s *Server) Interceptor {
	return On(GetObject, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			return false
		}
		bucket, key := splitPath(r)
		out, err := s.admin.GetObject(r.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			return false
		}
		defer out.Body.Close()
		w.Header().Set("ETag", aws.ToString(out.ETag))
		w.Header().Set("Content-Length", strconv.FormatInt(aws.ToInt64(out.ContentLength), 10))
		_, _ = io.Copy(w, out.Body)
		return true
	})
}

// Lag answers the first n HEADs of every object with 404, as a store where what
// was written is there only later.
func Lag(n int) Interceptor {
	var mu sync.Mutex
	seen := map[string]int{}
	return On(HeadObject, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen[r.URL.Path]++; seen[r.URL.Path] > n {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
}

// VirtualHosts is a host below which MinIO has its buckets as well. It has no address: a
// client comes to it by a Proxy, as a proxy of its environment.
const VirtualHosts = "store.test"

// RefusePathStyle refuses requests with the bucket in the path, as Alibaba Cloud does.
func RefusePathStyle(w http.ResponseWriter, r *http.Request) bool {
	return !strings.HasSuffix(r.Host, "."+VirtualHosts) && Fail(http.StatusForbidden, "SecondLevelDomainForbidden")(w, r)
}

// ChangeAcceptEncoding changes that header of requests on their way, whether or not it
// is signed.
func ChangeAcceptEncoding(_ http.ResponseWriter, r *http.Request) bool {
	r.Header.Set("Accept-Encoding", "br")
	return false
}

// RefuseChecksums refuses uploads with a checksum in a header, and doesn't say why.
func RefuseChecksums(w http.ResponseWriter, r *http.Request) bool {
	for name := range r.Header {
		if r.Method == http.MethodPut && strings.HasPrefix(name, "X-Amz-Checksum-") {
			return Fail(http.StatusBadRequest, "InvalidArgument")(w, r)
		}
	}
	return false
}

func writeXML(w http.ResponseWriter, status int, answer any) {
	body, err := xml.Marshal(answer)
	if err != nil {
		panic(err) // of a type of ours
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(xml.Header)+len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header+string(body))
}
