package s3

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ltxfs/ltxfs/replica/metrics"
)

// tally counts what was sent to stores, attempt by attempt.
type tally struct {
	sent      *prometheus.CounterVec
	firstByte *prometheus.HistogramVec
	retried   *prometheus.CounterVec
	resumed   prometheus.Counter
	stalled   prometheus.Counter
	hedged    prometheus.Counter
	hedgesWon prometheus.Counter
}

func newTally() *tally {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "ltxfs", Subsystem: "s3", Name: name, Help: help}
	}
	return &tally{
		sent: prometheus.NewCounterVec(counter("requests_total",
			"Requests by the status of the answer, or none if there was no answer. Each attempt is one."), []string{"request", "status"}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ltxfs", Subsystem: "s3", Name: "first_byte_seconds",
			Help:    "Time from a request to the header of its answer, by which a body was sent.",
			Buckets: metrics.Seconds,
		}, []string{"request"}),
		retried:   prometheus.NewCounterVec(counter("retries_total", "Requests that were made again after one that failed."), []string{"request"}),
		resumed:   prometheus.NewCounter(counter("resumes_total", "Answers that broke off, and whose rest was asked for.")),
		stalled:   prometheus.NewCounter(counter("stalls_total", "Requests that the store left without a byte for too long.")),
		hedged:    prometheus.NewCounter(counter("hedges_total", "GETs that were made again since they were late.")),
		hedgesWon: prometheus.NewCounter(counter("hedges_won_total", "Of these, how many brought the first answer.")),
	}
}

// counted is a client whose requests count.
type counted struct {
	client aws.HTTPClient
	tally  *tally
}

// Do implements aws.HTTPClient.
func (c *counted) Do(req *http.Request) (*http.Response, error) {
	began := time.Now()
	answer, err := c.client.Do(req)
	c.tally.answered(req, answer, time.Since(began))
	return answer, err
}

// answered counts an attempt; the answer is nil if it got none.
func (r *tally) answered(req *http.Request, answer *http.Response, took time.Duration) {
	request, status := middleware.GetOperationName(req.Context()), "none"
	if answer != nil {
		status = strconv.Itoa(answer.StatusCode)
		r.firstByte.WithLabelValues(request).Observe(took.Seconds())
	}
	r.sent.WithLabelValues(request, status).Inc()
}

// failed counts an error that ends an attempt or an answer, if it is a silent store's.
func (r *tally) failed(ctx context.Context, err error) {
	for _, kind := range connectionKind(err) {
		if ctx.Err() == nil && errors.Is(kind, context.DeadlineExceeded) {
			r.stalled.Inc()
		}
	}
}

// Collectors are what is counted of the requests of all stores.
func (p *Pool) Collectors() []prometheus.Collector {
	return []prometheus.Collector{p.tally.sent, p.tally.firstByte, p.tally.retried, p.tally.resumed, p.tally.stalled, p.tally.hedged, p.tally.hedgesWon}
}
