package litestreamcompat

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// timeout bounds each test.
const timeout = 60 * time.Second

// proxy is what stands for all stores that aren't on this machine. Without it, a
// request for one would leave the machine.
var proxy *recorder

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "litestreamcompat-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	caFile := filepath.Join(dir, "ca.pem")
	if proxy, err = newRecorder(caFile); err != nil {
		panic(err)
	}

	// What the environment holds for a store must not reach the clients, and
	// with AWS_CA_BUNDLE Litestream's S3 client doesn't start.
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		for _, prefix := range []string{"AWS_", "LITESTREAM_", "LTXFS_S3_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_"} {
			if strings.HasPrefix(upper, prefix) {
				_ = os.Unsetenv(name)
			}
		}
	}
	tools := os.Getenv("LTXFS_TOOLS")
	if tools == "" {
		if tools, err = filepath.Abs(filepath.Join("..", "..", ".tools", "bin")); err != nil {
			panic(err)
		}
	}
	for name, value := range map[string]string{
		"LTXFS_TOOLS":                 tools,
		"HTTP_PROXY":                  proxy.server.URL,
		"HTTPS_PROXY":                 proxy.server.URL,
		"SSL_CERT_FILE":               caFile,
		"AWS_CONFIG_FILE":             filepath.Join(dir, "none"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"),
		"AWS_EC2_METADATA_DISABLED":   "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	// The certificate is read once. Nothing stays of processes that are killed,
	// as those of a fuzzer are.
	if _, err := x509.SystemCertPool(); err != nil {
		panic(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	code := m.Run()
	proxy.close()
	if err := s3test.StopAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// testContext ends with the test, and at the timeout.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// strictHandler fails the test at what is worse than information.
type strictHandler struct {
	slog.Handler
	t testing.TB
}

// newLogger returns a logger that fails the test at a warning or an error.
func newLogger(t testing.TB) *slog.Logger {
	h := slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	return slog.New(strictHandler{Handler: h, t: t})
}

func (r strictHandler) Handle(ctx context.Context, rec slog.Record) error {
	r.t.Errorf("Litestream logs at level %s: %s", rec.Level, rec.Message)
	return r.Handler.Handle(ctx, rec)
}

func (r strictHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return strictHandler{Handler: r.Handler.WithAttrs(attrs), t: r.t}
}

func (r strictHandler) WithGroup(name string) slog.Handler {
	return strictHandler{Handler: r.Handler.WithGroup(name), t: r.t}
}
