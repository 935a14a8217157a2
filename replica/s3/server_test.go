package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The names of what tests ask for, and the secrets that no log may show.
const (
	testRoot    = "db/"
	testLevel0  = "db/0000/"
	testKeyID   = "AKIDEXAMPLE"
	testSecret  = "planted-secret-access-key"
	testToken   = "planted-session-token"
	testSSEKey  = "cGxhbnRlZC1rZXktb2Ytc3NlLWMtMzItYnl0ZXMhISE="
	testSSEHash = "planted-" // what all but the last begin with
)

// modified is when the server's objects were last modified.
var modified = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// answers say how a server answers each operation: GET, HEAD, PUT and DELETE of
// an object, LIST, BUCKET (the HEAD of one), BATCH (the deletion of many),
// and CREATE, PART, COMPLETE and ABORT of an upload in parts.
type answers map[string]http.HandlerFunc

// call is a request that a server got.
type call struct {
	op     string
	key    string
	query  map[string][]string
	header http.Header
	body   []byte
	length int64 // Content-Length
	coding []string
	proto  string
}

// server answers requests as a test says, and keeps them. It knows nothing of
// objects: what needs a store that works is tested on real ones.
type server struct {
	*httptest.Server
	answers answers
	plain   bool // it encrypts nothing, and doesn't say that it does

	mu       sync.Mutex
	calls    []call
	accepted int

	encryption http.Header // that was asked for
}

// serve starts a server, until the end of the test.
func serve(tb testing.TB, a answers) *server {
	tb.Helper()
	s := newServer(a)
	s.Start()
	tb.Cleanup(s.stop)
	return s
}

func newServer(a answers) *server {
	s := &server{answers: a}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.accepted++
			s.mu.Unlock()
		}
	}
	return s
}

// stop ends what hangs before it waits for it.
func (s *server) stop() {
	s.CloseClientConnections()
	s.Close()
}

// encrypt says of each object that it is encrypted as was asked for.
func (s *server) encrypt(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.encryption == nil {
		s.encryption = http.Header{}
	}
	for _, name := range []string{"X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Customer-Algorithm"} {
		if value := r.Header.Get(name); value != "" {
			s.encryption.Set(name, value)
		}
		if value := s.encryption.Get(name); value != "" && !s.plain {
			w.Header().Set(name, value)
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(r)
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(c.body))
	s.encrypt(w, r)
	if answer := s.answers[c.op]; answer != nil {
		answer(w, r)
		return
	}
	refuse(http.StatusTeapot, "NoScript")(w, r)
}

func newCall(r *http.Request) call {
	body, _ := io.ReadAll(r.Body)
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	op := r.Method
	switch {
	case q.Has("list-type"), key == "" && r.Method == http.MethodGet:
		op = "LIST"
	case q.Has("delete"):
		op = "BATCH"
	case q.Has("uploads"):
		op = "CREATE"
	case q.Has("uploadId"):
		op = map[string]string{http.MethodPut: "PART", http.MethodPost: "COMPLETE", http.MethodDelete: "ABORT"}[r.Method]
	case key == "" && r.Method == http.MethodHead:
		op = "BUCKET"
	}
	return call{op: op, key: key, query: q, header: r.Header.Clone(), body: body, length: r.ContentLength,
		coding: r.TransferEncoding, proto: r.Proto}
}

// seen are the requests so far.
func (s *server) seen() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// of are the requests of one operation.
func (s *server) of(op string) (calls []call) {
	for _, c := range s.seen() {
		if c.op == op {
			calls = append(calls, c)
		}
	}
	return calls
}

// ops are the operations so far, with blanks between.
func (s *server) ops() string {
	ops := make([]string, 0, 8)
	for _, c := range s.seen() {
		ops = append(ops, c.op)
	}
	return strings.Join(ops, " ")
}

// connections is how many connections there have been.
func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

func (c call) get(name string) string { return c.header.Get(name) }

func (c call) param(name string) string { return strings.Join(c.query[name], ",") }

// refuse answers with an error document of S3, or without a body for code "".
func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead && code != "" {
			_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>It is so.</Message><RequestId>1</RequestId></Error>`, code)
		}
	}
}

// say answers with a status, and a body where that can be.
func say(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		setHeaders(w, headers)
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body)
		}
	}
}

// setHeaders sets headers from names and values in turn.
func setHeaders(w http.ResponseWriter, headers []string) {
	for pair := range slices.Chunk(headers, 2) {
		w.Header().Set(pair[0], pair[1])
	}
}

// inTurn gives each answer once, and the last from then on.
func inTurn(all ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		answer := all[min(n, len(all)-1)]
		n++
		mu.Unlock()
		answer(w, r)
	}
}

// object answers GET and HEAD as a good store does, ranges and If-Match included.
func object(data []byte, etag string, headers ...string) http.HandlerFunc {
	return objectFrom(modified, data, etag, headers...)
}

// objectFrom is object with another time of modification.
func objectFrom(at time.Time, data []byte, etag string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+etag+`"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		setHeaders(w, headers)
		http.ServeContent(w, r, "", at, bytes.NewReader(data))
	}
}

// stored answers PUT.
func stored(etag string, headers ...string) http.HandlerFunc {
	return say(http.StatusOK, "", append([]string{"ETag", `"` + etag + `"`}, headers...)...)
}

// cut answers with a header that promises all of data, and with n bytes of it;
// then it closes the connection, or resets it.
func cut(data []byte, etag string, n int, reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		first, last := 0, len(data)-1
		if spec := r.Header.Get("Range"); spec != "" {
			from, to, _ := strings.Cut(strings.TrimPrefix(spec, "bytes="), "-")
			first, _ = strconv.Atoi(from)
			if to != "" {
				last, _ = strconv.Atoi(to)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		}
		w.Header().Set("ETag", `"`+etag+`"`)
		w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
		if w.Header().Get("Content-Range") != "" {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(data[first : first+n])
		_ = http.NewResponseController(w).Flush()
		if reset {
			hangUp(w)
			return
		}
		panic(http.ErrAbortHandler)
	}
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	raw, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = raw.(*net.TCPConn).SetLinger(0)
	_ = raw.Close()
}

// reset is an answer that is a reset.
func reset(w http.ResponseWriter, _ *http.Request) { hangUp(w) }

// hang answers nothing, until the connection is closed.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// testConfig is that of a replica at db/ of a server, patient for seconds where a
// user's is for minutes.
func (s *server) testConfig() config.Config {
	return config.Config{
		Bucket: "bucket", Path: "db", Endpoint: s.URL, Layout: replica.LitestreamS3,
		AccessKeyID: testKeyID, SecretAccessKey: testSecret, SessionToken: testToken,
		Retry:    config.Retry{Attempts: 3, MinBackoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond},
		Timeouts: config.Timeouts{Connect: 5 * time.Second, FirstByte: 5 * time.Second, Stall: 5 * time.Second, Verify: 5 * time.Second, CleanUp: 5 * time.Second},
	}
}

// unready returns a client that has not asked anything yet. At the end, it fails
// the test if its log, at level debug, shows a secret.
func (s *server) unready(tb testing.TB, change ...func(*config.Config)) (*Store, *logBuffer) {
	tb.Helper()
	isolate(tb)
	cfg := s.testConfig()
	log := &logBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		_ = c.Close()
		requireNoSecret(tb, log.String())
	})
	return c, log
}

// client returns one that knows its layout and root, so that the first request is
// the test's.
func (s *server) store(tb testing.TB, change ...func(*config.Config)) *Store {
	tb.Helper()
	c, _ := s.logging(tb, change...)
	return c
}

// logging is client, with what it logs.
func (s *server) logging(tb testing.TB, change ...func(*config.Config)) (*Store, *logBuffer) {
	tb.Helper()
	c, log := s.unready(tb, change...)
	ready(tb, c, config.DefaultRegion)
	return c, log
}

// ready tells a client what it would else ask for.
func ready(tb testing.TB, c *Store, region string) {
	tb.Helper()
	client, err := c.connect(tb.Context(), region)
	require.NoError(tb, err)
	c.ready.Store(&session{bucket: c.bucket, s3: client, layout: replica.LitestreamS3, root: testRoot})
	c.sawBucket()
}

// isolate keeps the SDK from what it would find on the machine.
func isolate(tb testing.TB) {
	tb.Helper()
	home := tb.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "AWS_CONFIG_FILE": filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "", "AWS_MAX_ATTEMPTS": "", "AWS_RETRY_MODE": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
	} {
		tb.Setenv(name, value)
	}
}

func requireNoSecret(tb testing.TB, text string) {
	tb.Helper()
	require.NotContains(tb, text, testSSEHash)
	require.NotContains(tb, text, testSSEKey)
}

// logBuffer is a log that many goroutines write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// within is a context that ends if the test hangs.
func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

// nth is the name of level 0's n-th file.
func nth(n int) replica.Name { return replica.Name{MinTXID: ltx.TXID(n), MaxTXID: ltx.TXID(n)} }

// nths are those of several.
func nths(all ...int) (names []replica.Name) {
	for _, n := range all {
		names = append(names, nth(n))
	}
	return names
}

// fileName is the base name of a level's n-th file, and fileKey the key of it in level 0.
func fileName(n int) string { return fmt.Sprintf("%016x-%016x.ltx", n, n) }
func fileKey(n int) string  { return testLevel0 + fileName(n) }

// bytesOf makes n bytes of which no two neighbours of a size are the same.
func bytesOf(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return data
}

// checksumOf is the checksum that a store has of data.
func checksumOf(data []byte) string {
	h := crc64nvme.New()
	_, _ = h.Write(data)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func md5Of(data []byte) string {
	s := md5.Sum(data)
	return base64.StdEncoding.EncodeToString(s[:])
}
