package s3test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// Traffic is what a MinIO has been asked since it started, by its own count.
type Traffic struct {
	Requests int64
	Received int64 // bytes that it got, headers included
	Sent     int64 // bytes that it sent, headers included
}

// Sub is the traffic since before.
func (t Traffic) Sub(before Traffic) Traffic {
	return Traffic{
		Requests: t.Requests - before.Requests,
		Received: t.Received - before.Received,
		Sent:     t.Sent - before.Sent,
	}
}

// Traffic is a MinIO's traffic, once no request is under way. Unlike Proxy, it
// costs those who are counted nothing.
func (s *Server) Traffic(t testing.TB) Traffic {
	t.Helper()
	client := &http.Client{Transport: newTransport(false), Timeout: ltxfstest.Timeout}
	for deadline := time.Now().Add(ltxfstest.Timeout); ; time.Sleep(5 * time.Millisecond) {
		counted, underWay, err := s.traffic(t.Context(), client)
		switch {
		case err != nil:
			t.Fatalf("%s: its counters: %v", s.Name, err)
		case underWay == 0:
			return counted
		case time.Now().After(deadline):
			t.Fatalf("%s: %d requests are under way after %v", s.Name, underWay, ltxfstest.Timeout)
		}
	}
}

func (s *Server) traffic(ctx context.Context, client *http.Client) (counted Traffic, underWay int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"/minio/metrics/v3/api/requests", nil)
	if err != nil {
		return counted, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return counted, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return counted, 0, errors.New(resp.Status)
	}
	sums := map[string]*int64{
		"minio_api_requests_total":                  &counted.Requests,
		"minio_api_requests_traffic_received_bytes": &counted.Received,
		"minio_api_requests_traffic_sent_bytes":     &counted.Sent,
		"minio_api_requests_inflight_total":         &underWay,
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		// name{labels} value
		name, rest, _ := strings.Cut(lines.Text(), "{")
		sum := sums[name]
		if sum == nil {
			continue
		}
		_, value, _ := strings.Cut(rest, "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return counted, 0, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		*sum += int64(n)
	}
	return counted, underWay, lines.Err()
}
