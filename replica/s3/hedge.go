package s3

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// piece is how much of a body tells the pace of others, in bytes: less may have come with
// its header.
const piece = 64 << 10

// hedge has a GET sent again if its answer doesn't begin.
func (b *bucket) hedge(o *awss3.Options) {
	if *b.cfg.Hedge {
		o.HTTPClient = b.conns.Hedged(b.life, o.HTTPClient, b.pace)
	}
}

// lag is how far the body of an answer is behind those of others.
type lag struct {
	began  time.Time     // when its present piece did
	from   int64         // where that did
	waited time.Duration // for it
	behind time.Duration // how much longer than it may it has been waited for
	rest   chan *reader  // asks for the rest, or nil
	giveUp context.CancelFunc
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
	patience, perKiB := r.at.pace.Bounds()
	rest, body, off, left := make(chan *reader, 1), r.body, r.off, r.left
	ctx, giveUp := context.WithCancel(r.ctx)
	var settled atomic.Bool // once some bytes have come, or the rest is asked for
	late := time.AfterFunc(patience-r.behind, func() {
		for !r.at.pace.MayHedge(r.ctx, r.at.life) {
			if wait(r.ctx, transport.MinPatience) != nil || settled.Load() {
				return
			}
		}
		if settled.CompareAndSwap(false, true) {
			rest <- r.askForRest(ctx, body, off, left)
		}
	})
	began := time.Now()
	n, err := body.Read(p)
	waited := time.Since(began)
	r.waited += waited
	r.behind = max(r.behind+waited-time.Duration(n)*perKiB>>10, 0)
	if !late.Stop() {
		r.behind = min(r.behind, patience-transport.MinPatience) // when it is looked again
	}
	if settled.CompareAndSwap(false, true) {
		giveUp()
	} else {
		r.rest, r.giveUp, r.behind = rest, giveUp, 0
	}
	return n, err
}

// awaitRest waits for the rest of a body that has ended, for no longer than for an answer that may be asked for
// again: with none, the body is gone on with as if nothing had been asked for.
func (r *reader) awaitRest() *reader {
	defer time.AfterFunc(transport.MinPatience, r.giveUp).Stop()
	return <-r.rest
}

// notePace notes how long the last piece of the body took, once there is one. One for which
// the reader has hardly waited tells how long the reader takes.
func (r *reader) notePace() {
	n := r.off - r.from
	if n < piece {
		return
	}
	if r.waited >= time.Since(r.began)/2 {
		r.at.pace.Came(n, r.waited)
	}
	r.began, r.from, r.waited = time.Now(), r.off, 0
}

// once has a request made by no more than one, which no other follows.
func (b *bucket) once(o *awss3.Options) { o.HTTPClient, o.Retryer = b.conns.Again(), aws.NopRetryer{} }

// askForRest asks for what is left of a body that is late. If there is an answer before a piece
// more of the body has come, it ends the body, and who waits for it; else it returns nil.
func (r *reader) askForRest(ctx context.Context, body io.Closer, off, left int64) *reader {
	rest := &reader{at: r.at, ctx: ctx, key: r.key, name: r.name, want: r.want, own: r.own, off: off, left: left}
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
	r.at.conns.Tally.HedgesWon.Inc()
	return true
}
