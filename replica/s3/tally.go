package s3

import (
	"context"
	"errors"
	"strconv"
	"time"

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

// answered counts an attempt: status is 0 if it got no answer.
func (r *tally) answered(request string, status int, took time.Duration) {
	text := "none"
	if status != 0 {
		text = strconv.Itoa(status)
		r.firstByte.WithLabelValues(request).Observe(took.Seconds())
	}
	r.sent.WithLabelValues(request, text).Inc()
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
