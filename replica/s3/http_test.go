package s3

import (
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// secureServer serves over TLS, with a certificate that is in a file alone.
func secureServer(t *testing.T) (s *server, caFile string) {
	t.Helper()
	s = newServer(answers{"GET": object([]byte("x"), "v1")})
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.stop)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(block), 0o600))
	return s, caFile
}

// A certificate is trusted by the system, by AWS_CA_BUNDLE, by a file, or not at
// all.
func TestTLSTrust(t *testing.T) {
	s, caFile := secureServer(t)
	for _, tt := range []struct {
		name    string
		change  func(*config.Config)
		bundle  string
		trusted bool
	}{
		{"unknown", func(*config.Config) {}, "", false},
		{"AWS_CA_BUNDLE", func(*config.Config) {}, caFile, true},
		{"a file", func(c *config.Config) { c.CAFile = caFile }, "", true},
		{"both", func(c *config.Config) { c.CAFile = caFile }, caFile, true},
		{"skipped", func(c *config.Config) { c.SkipVerify = true }, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.seen())
			c, _ := s.unready(t, tt.change)
			t.Setenv("AWS_CA_BUNDLE", tt.bundle)
			ready(t, c, config.DefaultRegion)
			got, err := readRange(t, c, "", 0, 0)
			if !tt.trusted {
				requireKinds(t, err, transport.ErrUntrusted)
				require.Len(t, s.seen(), before)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "x", string(got))
			require.Equal(t, "HTTP/1.1", s.seen()[before].proto, "though the server speaks HTTP/2")
		})
	}
}

// A file of certificates may hold other text as well, as many do.
func TestTLSFileWithComments(t *testing.T) {
	s, caFile := secureServer(t)
	certificate, err := os.ReadFile(caFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(caFile, append([]byte("# Our own authority\n"), certificate...), 0o600))
	_, err = readRange(t, s.store(t, func(c *config.Config) { c.CAFile = caFile }), "", 0, 0)
	require.NoError(t, err)
}

// A store that speaks no TLS, at an https endpoint, and the reverse.
func TestTLSWrongScheme(t *testing.T) {
	plain := serve(t, nil)
	c := plain.store(t, func(c *config.Config) { c.Endpoint = "https" + plain.URL[len("http"):] })
	_, err := c.OpenLTXFile(within(t, 10*time.Second), replica.File{Name: nth(1)}, 0, 0)
	requireKinds(t, err, transport.ErrNoTLS)

	secure, _ := secureServer(t)
	c = secure.store(t, func(c *config.Config) { c.Endpoint = "http" + secure.URL[len("https"):] })
	_, err = c.OpenLTXFile(within(t, 10*time.Second), replica.File{Name: nth(1)}, 0, 0)
	require.Error(t, err)
	require.Empty(t, secure.seen())
}

// Headers without an end are an error, not memory.
func TestHugeHeader(t *testing.T) {
	s := serve(t, answers{"GET": func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			w.Header().Add("X-Long", strings.Repeat("x", 1000))
		}
		object([]byte("x"), "v1")(w, r)
	}})
	_, err := readRange(t, s.store(t, func(c *config.Config) { c.Retry.Attempts = 1 }), "", 0, 0)
	require.ErrorContains(t, err, "exceeded")
}
