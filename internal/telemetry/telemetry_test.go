package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask asks a handler, and returns the status and the body of its answer.
func ask(h http.Handler, method, path string, form url.Values) (status int, body string) {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// What is wrong is told, with a status that probes understand.
func TestProbes(t *testing.T) {
	var sick error
	ready := false
	o := Options{Logger: slog.New(slog.DiscardHandler), Healthy: func() error { return sick }, Ready: func() bool { return ready }}
	h := o.handler()
	status, body := ask(h, http.MethodGet, "/healthz", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	status, _ = ask(h, http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	sick, ready = errors.New("a request hangs"), true
	status, body = ask(h, http.MethodGet, "/healthz", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "a request hangs\n", body)
	status, _ = ask(h, http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusOK, status)
	for _, path := range []string{"/settings", "/log", "/debug/pprof/cmdline", "/debug/pprof/trace"} {
		status, _ = ask(h, http.MethodGet, path, nil)
		require.Equal(t, http.StatusNotFound, status, path)
	}
}

// Orders are taken on the control socket alone, and each that can't be carried out is refused.
func TestOrders(t *testing.T) {
	var out bytes.Buffer
	var least slog.LevelVar
	access := ""
	o := Options{
		Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: &least})),
		SetLevel: func(level string) error {
			return least.UnmarshalText([]byte(level))
		},
		LogAccess: func(on bool) { access = map[bool]string{true: "on", false: "off"}[on] },
		Settings:  func(w io.Writer) error { _, err := io.WriteString(w, "all of them\n"); return err },
	}
	h := o.controlHandler(http.NotFoundHandler())
	for _, tt := range []struct {
		level, access, says, after string
	}{
		{access: "on", after: "on"},
		{access: "off", after: "off"},
		{level: "warn", after: "off"},
		{access: "on", says: "give --level=info as well", after: "off"},
		{level: "debug", access: "on", after: "on"},
		{level: "warn", access: "off", after: "off"},
		{level: "info", after: "off"},
		{level: "error", access: "on", says: "give --level=info", after: "off"},
		{access: "on", after: "on"}, // at the level of before
		{level: "loud", access: "off", says: "loud", after: "on"},
		{access: "maybe", says: `unknown word "maybe"`, after: "on"},
	} {
		status, body := ask(h, http.MethodPut, "/log", url.Values{"level": {tt.level}, "access": {tt.access}})
		require.Equal(t, tt.says == "", status == http.StatusOK, tt)
		require.Contains(t, body, tt.says)
		require.Equal(t, tt.after, access, tt)
	}
	status, body := ask(h, http.MethodGet, "/settings", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "all of them\n", body)
	require.Contains(t, out.String(), `msg="what is logged has changed" log_level=debug access=on`)
	require.Contains(t, out.String(), `msg="what is logged has changed" access=on`)
}

// Without a host, an address is this machine's.
func TestListen(t *testing.T) {
	l, err := Listen(":0")
	require.NoError(t, err)
	defer l.Close()
	require.True(t, strings.HasPrefix(l.Addr().String(), "127.0.0.1:"), l.Addr())
	_, err = Listen(l.Addr().String())
	require.ErrorContains(t, err, "give another address")
}
