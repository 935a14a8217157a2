package s3test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// ToxicProxy is a Toxiproxy of the test's own: it passes on the bytes of
// connections, and makes them slow or breaks them. Toxics act on the connections
// that are open and on later ones.
type ToxicProxy struct {
	Endpoint string // http://127.0.0.1:PORT

	process *process
	api     string
	client  *http.Client
	toxics  int
}

// Stream is a direction.
type Stream string

// The directions.
const (
	Upstream   Stream = "upstream"   // from the client to the server
	Downstream Stream = "downstream" // from the server to the client
)

// toxicName is the name of the one proxy.
const toxicName = "s3"

// Toxi starts a Toxiproxy before an endpoint, which may be another proxy's. It
// ends with the test.
func Toxi(t testing.TB, upstream string) *ToxicProxy {
	t.Helper()
	p := &ToxicProxy{client: &http.Client{Transport: newTransport(false), Timeout: ltxfstest.Timeout}}
	p.start(t, ltxfstest.Tool(t, "server"))
	p.listen(t, strings.TrimPrefix(upstream, "http://"))
	return p
}

// start starts the process, whose API listens on a port that was free before.
func (p *ToxicProxy) start(t testing.TB, program string) {
	t.Helper()
	for deadline := time.Now().Add(ltxfstest.Timeout); ; {
		addr, err := freeAddr()
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := strings.Cut(addr, ":")
		cmd := exec.Command(program, "-host", host, "-port", port)
		cmd.Env = ltxfstest.Env()
		process, err := startProcess(cmd)
		if err != nil {
			t.Fatal(err)
		}
		p.api = "http://" + addr
		for !process.endsWithin(5*time.Millisecond) && time.Now().Before(deadline) {
			// Somebody else may answer on a port that both have chosen.
			if _, err := p.call(http.MethodGet, "/version", nil); err == nil && !process.endsWithin(20*time.Millisecond) {
				p.process = process
				t.Cleanup(func() {
					if err := process.stop(stopTimeout); err != nil {
						t.Errorf("stop toxiproxy: %v", err)
					}
				})
				return
			}
		}
		if err := process.stop(stopTimeout); err != nil {
			t.Error(err)
		}
		if !strings.Contains(process.output(), "address already in use") || time.Now().After(deadline) {
			t.Fatalf("toxiproxy doesn't answer:\n%s", process.output())
		}
	}
}

// listen adds the proxy itself.
func (p *ToxicProxy) listen(t testing.TB, upstream string) {
	t.Helper()
	const tries = 10
	var last error
	for range tries {
		addr, err := freeAddr()
		if err != nil {
			t.Fatal(err)
		}
		_, last = p.call(http.MethodPost, "/proxies", map[string]any{
			"name": toxicName, "listen": addr, "upstream": upstream, "enabled": true,
		})
		if last == nil {
			p.Endpoint = "http://" + addr
			return
		}
	}
	t.Fatal(last)
}

// URL names a replica behind the proxy. Each of query is name=value.
func (p *ToxicProxy) URL(bucket, path string, query ...string) string {
	return URL(p.Endpoint, bucket, path, query...)
}

// Restart ends Toxiproxy, and starts another one at the same endpoint, with the same toxics. For
// requests that a client has given up, the old one has gone on reading from the server, into
// memory that it never gives back.
func (p *ToxicProxy) Restart(t testing.TB) {
	t.Helper()
	var old struct {
		Listen, Upstream string
		Toxics           []map[string]any
	}
	answer, err := p.call(http.MethodGet, "/proxies/"+toxicName, nil)
	if err = errors.Join(err, json.Unmarshal(answer, &old), p.process.stop(stopTimeout)); err != nil {
		t.Fatal(err)
	}
	p.start(t, ltxfstest.Tool(t, "server"))
	p.mustCall(t, http.MethodPost, "/proxies", map[string]any{
		"name": toxicName, "listen": old.Listen, "upstream": old.Upstream, "enabled": true,
	})
	for _, toxic := range old.Toxics {
		p.mustCall(t, http.MethodPost, "/proxies/"+toxicName+"/toxics", toxic)
	}
}

// Latency delays what the server sends.
func (p *ToxicProxy) Latency(t testing.TB, delay, jitter time.Duration) (remove func()) {
	t.Helper()
	return p.Add(t, "latency", Downstream, map[string]any{"latency": delay.Milliseconds(), "jitter": jitter.Milliseconds()})
}

// Bandwidth limits each connection, in kilobytes of 1000 bytes per second, in
// both directions.
func (p *ToxicProxy) Bandwidth(t testing.TB, rate int) (remove func()) {
	t.Helper()
	up := p.Add(t, "bandwidth", Upstream, map[string]any{"rate": rate})
	down := p.Add(t, "bandwidth", Downstream, map[string]any{"rate": rate})
	return func() { up(); down() }
}

// LimitData closes every connection, in good order, once the server has sent n
// bytes on it.
func (p *ToxicProxy) LimitData(t testing.TB, n int64) (remove func()) {
	t.Helper()
	return p.Add(t, "limit_data", Downstream, map[string]any{"bytes": n})
}

// ResetPeer resets every connection a time after the first byte that the server
// sends, none of which the client gets.
func (p *ToxicProxy) ResetPeer(t testing.TB, after time.Duration) (remove func()) {
	t.Helper()
	return p.Add(t, "reset_peer", Downstream, map[string]any{"timeout": after.Milliseconds()})
}

// Timeout drops what the server sends, and closes the connection a time later; 0
// is never.
func (p *ToxicProxy) Timeout(t testing.TB, after time.Duration) (remove func()) {
	t.Helper()
	return p.Add(t, "timeout", Downstream, map[string]any{"timeout": after.Milliseconds()})
}

// Slicer passes on what the server sends in pieces of about size bytes, with a
// delay between them.
func (p *ToxicProxy) Slicer(t testing.TB, size int, delay time.Duration) (remove func()) {
	t.Helper()
	return p.Add(t, "slicer", Downstream, map[string]any{
		"average_size": size, "size_variation": size / 2, "delay": delay.Microseconds(),
	})
}

// Add adds any toxic of Toxiproxy, with the attributes that it names.
func (p *ToxicProxy) Add(t testing.TB, kind string, stream Stream, attributes map[string]any) (remove func()) {
	t.Helper()
	p.toxics++
	name := fmt.Sprintf("%s-%d", kind, p.toxics)
	p.mustCall(t, http.MethodPost, "/proxies/"+toxicName+"/toxics", map[string]any{
		"name": name, "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes,
	})
	return func() {
		t.Helper()
		p.mustCall(t, http.MethodDelete, "/proxies/"+toxicName+"/toxics/"+name, nil)
	}
}

// Disable closes all connections and takes no more, until Enable.
func (p *ToxicProxy) Disable(t testing.TB) { t.Helper(); p.enable(t, false) }

// Enable ends Disable.
func (p *ToxicProxy) Enable(t testing.TB) { t.Helper(); p.enable(t, true) }

func (p *ToxicProxy) enable(t testing.TB, enabled bool) {
	t.Helper()
	p.mustCall(t, http.MethodPost, "/proxies/"+toxicName, map[string]any{"enabled": enabled})
}

func (p *ToxicProxy) mustCall(t testing.TB, method, path string, body any) {
	t.Helper()
	if _, err := p.call(method, path, body); err != nil {
		t.Fatal(err)
	}
}

// call asks Toxiproxy's API.
func (p *ToxicProxy) call(method, path string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, p.api+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("toxiproxy: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		err = errors.Join(err, fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, resp.Status, answer))
	}
	return answer, err
}
