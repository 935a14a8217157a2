package s3

import (
	"net/http"
	"sync/atomic"
	"time"
)

// meeting is where requests wait for each other, so that they are under way at the
// same time.
type meeting struct {
	missing atomic.Int32
	all     chan struct{}
}

func newMeeting(n int32) *meeting {
	m := &meeting{all: make(chan struct{})}
	m.missing.Store(n)
	return m
}

// join comes, without waiting.
func (m *meeting) join() {
	if m.missing.Add(-1) == 0 {
		close(m.all)
	}
}

// wait waits for all, or until the client gives up.
func (m *meeting) wait(r *http.Request) {
	select {
	case <-m.all:
	case <-r.Context().Done():
	}
}

// owner knows the write ID of the last upload that began.
type owner struct{ id atomic.Value }

// upload wraps the answer to PUT or CREATE.
func (o *owner) upload(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.id.Store(r.Header.Get("X-Amz-Meta-Ltxfs-Write-Id"))
		then(w, r)
	}
}

// own wraps the answer to HEAD of an object that this upload made.
func (o *owner) own(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Meta-Ltxfs-Write-Id", o.id.Load().(string))
		then(w, r)
	}
}

// atOnce counts how many requests are under way. The first most of them wait for
// each other, and then a moment for one that must not come.
type atOnce struct {
	most  int32
	first *meeting
	extra *meeting
	seen  atomic.Int32
	now   atomic.Int32
	peak  atomic.Int32
}

func newAtOnce(most int32) *atOnce {
	return &atOnce{most: most, first: newMeeting(most), extra: newMeeting(1)}
}

// answer wraps an answer that is sent when it returns.
func (a *atOnce) answer(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := a.now.Add(1)
		defer a.now.Add(-1)
		for old := a.peak.Load(); n > old && !a.peak.CompareAndSwap(old, n); old = a.peak.Load() {
		}
		if n > a.most {
			a.extra.join()
		}
		if a.seen.Add(1) <= a.most {
			a.first.join()
			a.first.wait(r)
			select {
			case <-a.extra.all:
			case <-time.After(50 * time.Millisecond):
			}
		}
		then(w, r)
	}
}
