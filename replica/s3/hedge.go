package s3

import (
	"context"
	"io"
	"net/http"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// A store leaves one request in a hundred for seconds without an answer, or in the middle of
// it, and gives the same one at once if it is asked again. So a GET that is late, beside those
// before it, is made again, and what comes first is taken.

// hedge has a GET sent again if its answer doesn't begin.
func (b *bucket) hedge(o *awss3.Options) {
	if *b.cfg.Hedge {
		o.HTTPClient = &hedger{b, o.HTTPClient}
	}
}

// hedger sends requests again: as they are, so that what answers them is of the same version.
type hedger struct {
	*bucket
	client awss3.HTTPClient
}

// attempt is one of the two times that a request is sent.
type attempt struct {
	cancel context.CancelFunc
	answer *http.Response
	err    error
	took   time.Duration
}

// Do implements awss3.HTTPClient.
func (h *hedger) Do(req *http.Request) (*http.Response, error) {
	done := make(chan *attempt, 2)
	late := time.NewTimer(h.pace.begin())
	defer late.Stop()
	first := h.send(req, done)
	select {
	case a := <-done:
		return h.take(a)
	case <-late.C:
	}
	if !h.pace.mayHedge() {
		return h.take(<-done)
	}
	h.tally.hedged.Inc()
	second := h.send(req, done)
	a, other := <-done, first
	if a == first {
		other = second
	}
	if a.good() {
		other.cancel()
		go func() { h.drop(<-done) }()
	} else {
		h.drop(a)
		a = <-done
	}
	if a == second && a.good() {
		h.tally.hedgesWon.Inc()
	}
	return h.take(a)
}

func (h *hedger) send(req *http.Request, done chan<- *attempt) *attempt {
	// It ends with the request's own context, which the reader of the answer ends.
	ctx, cancel := context.WithCancel(req.Context())
	a := &attempt{cancel: cancel}
	go func() {
		began := time.Now()
		a.answer, a.err = h.client.Do(req.Clone(ctx))
		a.took = time.Since(began)
		done <- a
	}()
	return a
}

// good reports whether an attempt's answer would not be another if it were made again.
func (a *attempt) good() bool { return a.err == nil && !retryable.status[a.answer.StatusCode] }

func (h *hedger) take(a *attempt) (*http.Response, error) {
	if a.good() {
		h.pace.answered(a.took)
	}
	return a.answer, a.err
}

// drop counts an attempt that nobody takes, as what is taken is counted elsewhere.
func (h *hedger) drop(a *attempt) {
	a.cancel()
	status := 0
	if a.err == nil {
		status = a.answer.StatusCode
		_ = a.answer.Body.Close() // nobody reads it
	}
	h.tally.answered("GetObject", status, a.took)
}

// lag is how far the body of an answer is behind those of others.
type lag struct {
	began  time.Time     // when its present piece did
	from   int64         // where that did
	behind time.Duration // how much longer than it may it has been waited for
	rest   chan *reader  // asks for the rest, or nil
}

// next reads from the body. While it waits for one that is late, the rest is asked for again.
// The time in which nobody reads is the reader's, and doesn't count.
func (r *reader) next(p []byte) (int, error) {
	select {
	case rest := <-r.rest:
		r.goOn(rest)
	default:
	}
	if r.rest != nil || !*r.at.cfg.Hedge {
		return r.body.Read(p)
	}
	patience, perKiB := r.at.pace.bounds()
	rest, body, off, left := make(chan *reader, 1), r.body, r.off, r.left
	late := time.AfterFunc(patience-r.behind, func() { rest <- r.askForRest(body, off, left) })
	began := time.Now()
	n, err := body.Read(p)
	r.behind = max(r.behind+time.Since(began)-time.Duration(n)*perKiB>>10, 0)
	if !late.Stop() {
		r.rest, r.behind = rest, 0
	}
	return n, err
}

// notePace notes how long the last piece of the body took, once there is one.
func (r *reader) notePace() {
	if n := r.off - r.from; n >= piece {
		r.at.pace.came(n, time.Since(r.began))
		r.began, r.from = time.Now(), r.off
	}
}

// askForRest asks for what is left of a body that is late. If there is an answer, it ends the
// body, and who waits for it; else the body is all that there is, and it returns nil.
func (r *reader) askForRest(body io.Closer, off, left int64) *reader {
	if !r.at.pace.mayHedge() {
		return nil
	}
	r.at.tally.hedged.Inc()
	rest := &reader{at: r.at, ctx: r.ctx, key: r.key, name: r.name, want: r.want, own: r.own, off: off, left: left}
	if rest.get() != nil {
		return nil
	}
	_ = body.Close() // it is given up
	return rest
}

// goOn goes on with the rest, if there is one: behind what has come of the body meanwhile.
func (r *reader) goOn(rest *reader) (ok bool) {
	r.rest = nil
	if rest == nil {
		return false
	}
	if _, err := io.CopyN(io.Discard, rest.body, r.off-rest.off); err != nil {
		_ = rest.body.Close() // it is broken
		return false
	}
	_ = r.body.Close() // it was given up
	r.body, r.lag = rest.body, rest.lag
	r.at.tally.hedgesWon.Inc()
	return true
}
