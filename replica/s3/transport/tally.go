package transport

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

// Tally counts what was sent to stores, attempt by attempt.
type Tally struct {
	Retried   *prometheus.CounterVec // requests, by their name, after one that failed
	Resumed   prometheus.Counter     // answers that broke off
	HedgesWon prometheus.Counter     // GETs that were made again, and brought the first answer
	sent      *prometheus.CounterVec
	firstByte *prometheus.HistogramVec
	stalled   prometheus.Counter
	hedged    prometheus.Counter
}

func newTally() *Tally {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "ltxfs", Subsystem: "s3", Name: name, Help: help}
	}
	return &Tally{
		sent: prometheus.NewCounterVec(counter("requests_total",
			"Requests by the status of the answer, or none if there was no answer. Each attempt is one."), []string{"request", "status"}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ltxfs", Subsystem: "s3", Name: "first_byte_seconds",
			Help:    "Time from a request to the header of its answer, by which a body was sent.",
			Buckets: metrics.Seconds,
		}, []string{"request"}),
		Retried:   prometheus.NewCounterVec(counter("retries_total", "Requests that were made again after one that failed."), []string{"request"}),
		Resumed:   prometheus.NewCounter(counter("resumes_total", "Answers that broke off, and whose rest was asked for.")),
		stalled:   prometheus.NewCounter(counter("stalls_total", "Requests that the store left without a byte for too long.")),
		hedged:    prometheus.NewCounter(counter("hedges_total", "GETs that were made again since they were late.")),
		HedgesWon: prometheus.NewCounter(counter("hedges_won_total", "Of these, how many brought the first answer.")),
	}
}

// counted is a client whose requests count.
type counted struct {
	client aws.HTTPClient
	tally  *Tally
}

// Do implements aws.HTTPClient.
func (c *counted) Do(req *http.Request) (*http.Response, error) {
	began := time.Now()
	answer, err := c.client.Do(req)
	c.tally.answered(req, answer, time.Since(began))
	return answer, err
}

// answered counts an attempt; the answer is nil if it got none.
func (r *Tally) answered(req *http.Request, answer *http.Response, took time.Duration) {
	request, status := middleware.GetOperationName(req.Context()), "none"
	if answer != nil {
		status = strconv.Itoa(answer.StatusCode)
		r.firstByte.WithLabelValues(request).Observe(took.Seconds())
	}
	r.sent.WithLabelValues(request, status).Inc()
}

// Failed counts an error that ends an attempt or an answer, if it is a silent store's.
func (r *Tally) Failed(ctx context.Context, err error) {
	for _, kind := range Kind(err) {
		if ctx.Err() == nil && errors.Is(kind, context.DeadlineExceeded) {
			r.stalled.Inc()
		}
	}
}

// Collectors are what is counted of the requests of all stores.
func (p *Pool) Collectors() []prometheus.Collector {
	t := p.tally
	return []prometheus.Collector{t.sent, t.firstByte, t.Retried, t.Resumed, t.stalled, t.hedged, t.HedgesWon}
}
