package transport

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A store leaves one request in a hundred for seconds without an answer, or in the middle of
// it, and gives the same one at once if it is asked again. So a GET that is late, beside those
// before it, is made again, and what comes first is taken.

// Again is the client, once there is one, of GETs that are made again. They have connections of
// their own, since those that are late keep theirs, and count once they have one.
func (c *Connections) Again() aws.HTTPClient { return &again{c.spare, c.Tally} }

type again struct {
	client aws.HTTPClient
	tally  *Tally
}

// Do implements aws.HTTPClient.
func (a *again) Do(req *http.Request) (*http.Response, error) {
	began, sent := time.Now(), false
	answer, err := a.client.Do(onConnection(req, func() {
		if !sent { // and not for another connection, where the first one was closed
			sent = true
			a.tally.hedged.Inc()
		}
	}))
	if sent {
		a.tally.answered(req, answer, time.Since(began))
	}
	return answer, err
}

// onConnection has f called once a request has its connection, by whoever makes it.
func onConnection(req *http.Request, f func()) *http.Request {
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { f() }}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
}

// Hedged is a client of GETs that are sent again if their answer doesn't begin, at the pace of
// others to the endpoint: as they are, so that what answers them is of the same version. None is
// once the store's life has ended.
func (c *Connections) Hedged(life context.Context, client aws.HTTPClient, pace *Pace) aws.HTTPClient {
	return &hedger{c, life, client, c.Again(), pace}
}

type hedger struct {
	*Connections
	life          context.Context
	client, again aws.HTTPClient
	pace          *Pace
}

// attempt is one of the two times that a request is sent.
type attempt struct {
	cancel context.CancelFunc
	sent   chan struct{} // closed once it has its connection, or won't get one
	began  time.Time     // when it had its connection
	done   chan struct{} // closed once there is what follows
	answer *http.Response
	err    error
	took   time.Duration // since it was sent
}

// Do implements aws.HTTPClient. What the first attempt ends with is taken, as it would be
// alone; the second serves only if it brings what was asked for.
func (h *hedger) Do(req *http.Request) (*http.Response, error) {
	first, second := h.send(h.client, req), &attempt{}
	if <-first.sent; first.began.IsZero() { // the store hasn't seen it
		<-first.done
		return h.take(first)
	}
	late := time.NewTimer(h.pace.Begin())
	defer late.Stop()
	for {
		select {
		case <-first.done:
			second.drop()
			return h.take(first)
		case <-second.done:
			if second.good() {
				first.drop()
				h.Tally.HedgesWon.Inc()
				return h.take(second)
			}
			second.drop()
			second = &attempt{}
		case <-late.C:
			if h.pace.MayHedge(req.Context(), h.life) {
				second = h.send(h.again, req)
			} else {
				late.Reset(MinPatience)
			}
		}
	}
}

func (h *hedger) send(client aws.HTTPClient, req *http.Request) *attempt {
	// It ends with the request's own context, which the reader of the answer ends.
	ctx, cancel := context.WithCancel(req.Context())
	a := &attempt{cancel: cancel, sent: make(chan struct{}), done: make(chan struct{})}
	sent := sync.OnceFunc(func() { close(a.sent) })
	go func() {
		defer close(a.done)
		a.answer, a.err = client.Do(onConnection(req.Clone(ctx), sync.OnceFunc(func() {
			a.began = time.Now()
			sent()
		})))
		sent()
		a.took = time.Since(a.began)
	}()
	return a
}

// good reports whether an attempt has brought what was asked for, or that it isn't there by now.
func (a *attempt) good() bool {
	return a.err == nil && (a.answer.StatusCode < 400 || a.answer.StatusCode == http.StatusPreconditionFailed)
}

func (h *hedger) take(a *attempt) (*http.Response, error) {
	if a.good() {
		h.pace.Answered(a.took)
	}
	return a.answer, a.err
}

// drop ends an attempt that nobody takes, if it was made.
func (a *attempt) drop() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	go func() {
		if <-a.done; a.err == nil {
			_ = a.answer.Body.Close() // nobody reads it
		}
	}()
}
