package s3

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// accepting answers requests with one access key, and refuses others.
type accepting struct {
	mu  sync.Mutex
	key string
}

func (a *accepting) set(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
}

func (a *accepting) or(refusal, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		ok := strings.Contains(r.Header.Get("Authorization"), "Credential="+a.key+"/")
		a.mu.Unlock()
		if ok {
			then(w, r)
			return
		}
		refusal(w, r)
	}
}

// fromFiles makes a client take its key from the shared file, and returns what
// replaces the key in there.
func fromFiles(t *testing.T, s *server, content string) (c *Store, replace func(content string)) {
	t.Helper()
	isolate(t)
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	replace = func(content string) {
		require.NoError(t, os.WriteFile(file+".new", []byte(content), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	replace(content)
	cfg := s.testConfig()
	cfg.AccessKeyID, cfg.SecretAccessKey, cfg.SessionToken = "", "", ""
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ready(t, c, config.DefaultRegion)
	return c, replace
}

func keyFile(key string) string {
	return fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key, testSecret)
}

// A key that another program replaces is used once the store refuses the old one,
// whatever the refusal says.
func TestRenewFromFile(t *testing.T) {
	for name, refusal := range map[string]http.HandlerFunc{
		"unknown key": refuse(403, "InvalidAccessKeyId"), "expired": refuse(400, "ExpiredToken"), "wrong secret": refuse(403, "SignatureDoesNotMatch"),
		"without words": refuse(403, ""), "unauthorized": refuse(401, "Unauthorized"), "denied": refuse(403, "AccessDenied"),
		"no such user": refuse(404, "XAdminUserNotFound"),
	} {
		t.Run(name, func(t *testing.T) {
			a := &accepting{key: "old"}
			s := serve(t, answers{
				"GET":  a.or(refusal, object([]byte("x"), "v1")),
				"HEAD": a.or(refusal, object([]byte("x"), "v1")),
				"LIST": a.or(refusal, say(200, pageOf("", 1))), "BUCKET": a.or(refusal, say(200, "")),
			})
			c, replace := fromFiles(t, s, keyFile("old"))
			_, err := readRange(t, c, "", 0, 0)
			require.NoError(t, err)
			c.alive.Store(0)                                                   // a HEAD doesn't tell a file that is missing from a user who is,
			readers := map[bool]int{false: 5, true: 1}[name == "no such user"] // until a listing does

			a.set("new")
			replace(keyFile("new"))
			var all sync.WaitGroup
			for range readers {
				all.Go(func() {
					_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			_, err = readRange(t, c, "", 0, 0)
			require.NoError(t, err)
			require.Equal(t, []int{1}, listed(t, c, 0))
			require.Len(t, s.of("GET"), 2, "the new key is kept")
		})
	}
}

// Until there is another key, a refusal is one, at once.
func TestRenewNothingNew(t *testing.T) {
	a := &accepting{key: "new"}
	s := serve(t, answers{"GET": a.or(refuse(403, "InvalidAccessKeyId"), object([]byte("x"), "v1"))})
	c, replace := fromFiles(t, s, keyFile("old"))
	for range 3 {
		_, err := readRange(t, c, "", 0, 0)
		require.ErrorIs(t, err, os.ErrPermission)
	}
	require.Equal(t, "GET GET GET", s.ops())
	// The file is half written, then gone, and then there again.
	for _, content := range []string{"[default]\naws_access_key_id = new\n", "[default", keyFile("new")} {
		replace(content)
		if content != keyFile("new") {
			_, err := readRange(t, c, "", 0, 0)
			require.ErrorIs(t, err, os.ErrPermission)
		}
	}
	require.Eventually(t, func() bool {
		_, err := readRange(t, c, "", 0, 0)
		return err == nil
	}, 5*time.Second, 50*time.Millisecond)
}

// A program that doesn't say when its key expires is run again when that is refused.
func TestRenewFromProcess(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	printed := filepath.Join(dir, "printed")
	printKey := func(key string) {
		require.NoError(t, os.WriteFile(printed, fmt.Appendf(nil, `{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q}`, key, testSecret), 0o600))
	}
	printKey("old")
	require.NoError(t, os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte("[default]\ncredential_process = cat "+printed+"\n"), 0o600))
	configFile := os.Getenv("AWS_CONFIG_FILE")

	a := &accepting{key: "old"}
	s := serve(t, answers{"GET": a.or(refuse(403, "InvalidAccessKeyId"), object([]byte("x"), "v1"))})
	c, _ := fromFiles(t, s, "")
	t.Setenv("AWS_CONFIG_FILE", configFile)
	ready(t, c, config.DefaultRegion)
	for _, key := range []string{"old", "new"} {
		printKey(key)
		a.set(key)
		_, err := readRange(t, c, "", 0, 0)
		require.NoError(t, err)
	}
	require.Equal(t, "GET GET GET", s.ops())
}

// A key that was given isn't replaced by one that is found.
func TestRenewGivenKey(t *testing.T) {
	s := serve(t, answers{"GET": refuse(403, "InvalidAccessKeyId")})
	c, log := s.logging(t)
	require.NoError(t, os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(keyFile("new")), 0o600))
	_, err := readRange(t, c, "", 0, 0)
	require.ErrorIs(t, err, os.ErrPermission)
	require.Equal(t, "GET", s.ops())
	require.NotContains(t, log.String(), "new credentials")
}
