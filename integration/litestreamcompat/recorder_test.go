package litestreamcompat

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// recorderRegion is the region that the recorder says a bucket is in.
const recorderRegion = "eu-central-1"

// recorder is an HTTP proxy that answers for every host itself, and writes down
// what it was asked. It is no store: a level is empty, a bucket is in a region,
// and everything else is forbidden. What clients do with a store is tested with
// real ones.
type recorder struct {
	server *httptest.Server
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey

	mu       sync.Mutex
	requests []request
	tunnels  []net.Conn
}

// request is what of a request depends on the configuration.
type request struct {
	Method string
	Scheme string
	Host   string
	Path   string // escaped
	Query  string // what is asked of the path: "uploads", "delete", a prefix

	AccessKey        string
	Region           string
	SignsEncoding    bool
	Payload          string // how it is signed
	ContentMD5       bool
	TigrisConsistent bool
	StorageClass     string
	SSEAlgorithm     string
	SSEKMSKey        string
	SSECKey          string
	SSECKeyMD5       string
	Timestamp        string
}

// newRecorder starts a recorder whose certificates are issued by the one that it
// writes to caFile.
func newRecorder(caFile string) (*recorder, error) {
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "recorder"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	r := &recorder{ca: ca, key: key}
	r.server = httptest.NewServer(r)
	return r, nil
}

// close ends the server, and the connections that clients keep.
func (r *recorder) close() {
	r.server.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.tunnels {
		_ = conn.Close()
	}
}

// take returns the requests since the last take.
func (r *recorder) take() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := r.requests
	r.requests = nil
	return requests
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect {
		r.answer(w, req, "http")
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	r.mu.Lock()
	r.tunnels = append(r.tunnels, conn)
	r.mu.Unlock()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	certificate, err := r.certificate(req.URL.Hostname())
	if err != nil {
		return
	}
	r.serveTunnel(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}))
}

func (r *recorder) certificate(host string) (tls.Certificate, error) {
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: r.ca.NotBefore, NotAfter: r.ca.NotAfter}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, r.ca, &r.key.PublicKey, r.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: r.key}, err
}

// serveTunnel answers one request of a tunnel at a time, until the client ends it.
func (r *recorder) serveTunnel(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	for {
		_ = conn.SetDeadline(time.Now().Add(timeout))
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
			if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		r.answer(w, req, "https")
		res := w.Result()
		res.ContentLength = int64(w.Body.Len())
		res.Request = req
		if res.Write(conn) != nil {
			return
		}
	}
}

var credentialRegex = regexp.MustCompile(`Credential=([^/]+)/[0-9]+/([^/]+)/s3/`)

func (r *recorder) answer(w http.ResponseWriter, req *http.Request, scheme string) {
	_, _ = io.Copy(io.Discard, req.Body)
	query := req.URL.Query()
	if query.Has("location") || req.Method == http.MethodHead {
		// The ways to ask for a region differ.
		w.Header().Set("X-Amz-Bucket-Region", recorderRegion)
		if query.Has("location") {
			fmt.Fprintf(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</LocationConstraint>`, recorderRegion)
		}
		return
	}
	r.record(req, scheme, query)
	if req.Method == http.MethodGet {
		fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated></ListBucketResult>`)
		return
	}
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprint(w, `<Error><Code>AccessDenied</Code><Message>recorded</Message></Error>`)
}

func (r *recorder) record(req *http.Request, scheme string, query url.Values) {
	h := req.Header
	rec := request{
		Method:        req.Method,
		Scheme:        scheme,
		Host:          req.Host,
		Path:          strings.TrimSuffix(req.URL.EscapedPath(), "/"),
		Payload:       h.Get("X-Amz-Content-Sha256"),
		SignsEncoding: strings.Contains(h.Get("Authorization"), "accept-encoding"),
		// Of deletions, ltxfs finds out whether the store wants it.
		ContentMD5:       h.Get("Content-Md5") != "" && !query.Has("delete"),
		TigrisConsistent: h.Get("X-Tigris-Consistent") == "true",
		StorageClass:     h.Get("X-Amz-Storage-Class"),
		SSEAlgorithm:     h.Get("X-Amz-Server-Side-Encryption") + h.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm"),
		SSEKMSKey:        h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"),
		SSECKey:          h.Get("X-Amz-Server-Side-Encryption-Customer-Key"),
		SSECKeyMD5:       h.Get("X-Amz-Server-Side-Encryption-Customer-Key-Md5"),
		Timestamp:        h.Get("X-Amz-Meta-Litestream-Timestamp"),
	}
	switch {
	case len(rec.Payload) == hex.EncodedLen(sha256.Size):
		rec.Payload = "signed"
	case rec.Payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		// Litestream has the SDK send a checksum behind the body, to AWS;
		// ltxfs sends one before it. The body is as unsigned.
		rec.Payload = "UNSIGNED-PAYLOAD"
	}
	switch {
	case query.Has("uploads"):
		rec.Query = "uploads"
	case query.Has("delete"):
		rec.Query = "delete"
	case req.Method == http.MethodGet:
		rec.Query = query.Get("prefix")
	}
	if m := credentialRegex.FindStringSubmatch(h.Get("Authorization")); m != nil {
		rec.AccessKey, rec.Region = m[1], m[2]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, rec)
}
