package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
)

// send uploads. If the store refuses the request because of headers that it
// doesn't know, it leaves them out, and remembers which it was. The condition of an
// exclusive write goes last: without it, another's file may be replaced.
func (u *upload) send(ctx context.Context) error {
	c := u.client
	headers := []struct {
		out  *atomic.Bool
		sent bool
		what string
	}{
		{&c.refusesChecksums, !c.refusesChecksums.Load(), "checksums with uploads"},
		{&c.refusesConditions, u.exclusive && !c.refusesConditions.Load(), "conditional writes, so that another writer may come between"},
	}
	err := u.sendOnce(ctx)
	first := err
	var left []*atomic.Bool // out, and not known to be why
	for _, header := range headers {
		if !header.sent || !refusesHeaders(err) {
			continue
		}
		if u.src.consumed {
			// It can't be sent again. The next write shall know at least.
			if strings.Contains(err.Error(), "checksum") {
				c.refusesChecksums.Store(true)
			}
			return err
		}
		mine := !header.out.Swap(true) // or another write has found out meanwhile
		u.sums = newSums()
		if err = u.sendOnce(ctx); err == nil {
			c.log().Warn("the store doesn't know "+header.what+"; going on without", "error", first)
			break
		}
		if mine {
			left = append(left, header.out)
		}
	}
	for _, flag := range left {
		flag.Store(false) // it was something else
	}
	return err
}

// refusesHeaders reports whether a store refused a request because of headers
// that it doesn't know.
func refusesHeaders(err error) bool {
	var e *StoreError
	if !errors.As(err, &e) {
		return false
	}
	if e.Status == http.StatusNotImplemented {
		return true
	}
	text := strings.ToLower(e.text)
	return e.Status == http.StatusBadRequest && !errors.Is(err, errDigest) &&
		(strings.Contains(text, "checksum") || strings.Contains(text, "header")) && !strings.Contains(text, "missing")
}
