package s3

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// A store leaves one request in a hundred for seconds without an answer, or in the middle of
// it, and gives the same one at once if it is asked again. So a GET that is late, beside those
// before it, is made again, once, and what comes first is taken.

// mayHedge takes the right to make a GET again, for who still wants its answer.
func (b *bucket) mayHedge(ctx context.Context) bool {
	return ctx.Err() == nil && b.life.Err() == nil && b.pace.mayHedge()
}

// again is the client of GETs that are made again. They have connections of their own, since
// those that are late keep theirs, and count once they have one.
func (b *bucket) again() aws.HTTPClient { return &again{b.spare, b.tally} }

type again struct {
	client aws.HTTPClient
	tally  *tally
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

// hedge has a GET sent again if its answer doesn't begin.
func (b *bucket) hedge(o *awss3.Options) {
	if *b.cfg.Hedge {
		o.HTTPClient = &hedger{b, o.HTTPClient, b.again()}
	}
}

// hedger sends requests again: as they are, so that what answers them is of the same version.
type hedger struct {
	*bucket
	client, again aws.HTTPClient
}

// attempt is one of the two times that a request is sent.
type attempt struct {
	cancel context.CancelFunc
	sent   chan struct{} // closed once it has its connection, or won't get one
	done   chan struct{} // closed once there is what follows
	answer *http.Response
	err    error
	took   time.Duration // since it was sent
}

// Do implements aws.HTTPClient. What the first attempt ends with is taken, as it would be
// alone; the second serves only if it brings what was asked for.
func (h *hedger) Do(req *http.Request) (*http.Response, error) {
	first, second := h.send(h.client, req), &attempt{}
	<-first.sent
	late := time.NewTimer(h.pace.begin())
	defer late.Stop()
	for {
		select {
		case <-first.done:
			second.drop()
			return h.take(first)
		case <-second.done:
			if second.good() {
				first.drop()
				h.tally.hedgesWon.Inc()
				return h.take(second)
			}
			second.drop()
			second = &attempt{}
		case <-late.C:
			if h.mayHedge(req.Context()) {
				second = h.send(h.again, req)
			} else {
				late.Reset(minPatience)
			}
		}
	}
}

func (h *hedger) send(client aws.HTTPClient, req *http.Request) *attempt {
	// It ends with the request's own context, which the reader of the answer ends.
	ctx, cancel := context.WithCancel(req.Context())
	a := &attempt{cancel: cancel, sent: make(chan struct{}), done: make(chan struct{})}
	var began time.Time
	sent := sync.OnceFunc(func() { began = time.Now(); close(a.sent) })
	go func() {
		defer close(a.done)
		a.answer, a.err = client.Do(onConnection(req.Clone(ctx), sent))
		sent()
		a.took = time.Since(began)
	}()
	return a
}

// good reports whether an attempt has brought what was asked for, or that it isn't there by now.
func (a *attempt) good() bool {
	return a.err == nil && (a.answer.StatusCode < 400 || a.answer.StatusCode == http.StatusPreconditionFailed)
}

func (h *hedger) take(a *attempt) (*http.Response, error) {
	if a.good() {
		h.pace.answered(a.took)
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

// lag is how far the body of an answer is behind those of others.
type lag struct {
	began  time.Time     // when its present piece did
	from   int64         // where that did
	waited time.Duration // for it
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
	var settled atomic.Bool // once some bytes have come, or the rest is asked for
	late := time.AfterFunc(patience-r.behind, func() {
		for !r.at.mayHedge(r.ctx) {
			if wait(r.ctx, minPatience) != nil || settled.Load() {
				return
			}
		}
		if settled.CompareAndSwap(false, true) {
			rest <- r.askForRest(body, off, left)
		}
	})
	began := time.Now()
	n, err := body.Read(p)
	waited := time.Since(began)
	r.waited += waited
	r.behind = max(r.behind+waited-time.Duration(n)*perKiB>>10, 0)
	if !late.Stop() {
		r.behind = min(r.behind, patience-minPatience) // when it is looked again
	}
	if !settled.CompareAndSwap(false, true) {
		r.rest, r.behind = rest, 0
	}
	return n, err
}

// notePace notes how long the last piece of the body took, once there is one. One for which
// the reader has hardly waited tells how long the reader takes.
func (r *reader) notePace() {
	n := r.off - r.from
	if n < piece {
		return
	}
	if r.waited >= time.Since(r.began)/2 {
		r.at.pace.came(n, r.waited)
	}
	r.began, r.from, r.waited = time.Now(), r.off, 0
}

// once has a request made by no more than one, which no other follows.
func (b *bucket) once(o *awss3.Options) { o.HTTPClient, o.Retryer = b.again(), aws.NopRetryer{} }

// askForRest asks for what is left of a body that is late. If there is an answer before a piece
// more of the body has come, it ends the body, and who waits for it; else it returns nil.
func (r *reader) askForRest(body io.Closer, off, left int64) *reader {
	rest := &reader{at: r.at, ctx: r.ctx, key: r.key, name: r.name, want: r.want, own: r.own, off: off, left: left}
	in, _, _ := rest.input()
	if _, err := rest.ask(in, r.at.once); err != nil {
		return nil
	}
	if r.come.Load()-off >= piece {
		_ = rest.body.Close() // nobody reads it
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
