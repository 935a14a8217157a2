package index

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// lockingHandler takes the index's lock for each line. With the lock held by
// the one who logs, it never gets it.
type lockingHandler struct {
	slog.Handler
	x     *Index
	lines chan string
}

func (h *lockingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *lockingHandler) Handle(_ context.Context, r slog.Record) error {
	h.x.mu.Lock()
	defer h.x.mu.Unlock()
	h.lines <- r.Message
	return nil
}

// Whoever reads the log slowly doesn't hold up those who use the index.
func TestLogsWithoutTheLock(t *testing.T) {
	h := &lockingHandler{lines: make(chan string, 3)}
	s := newStore(file(1, 1))
	h.x, _ = newIndex(t, s, Options{Logger: slog.New(h)})
	f, _ := find(t, h.x, 1, 1)
	require.Equal(t, file(1, 1), *f)
	require.Equal(t, "stat", <-h.lines)
	listLevel(t, h.x)
	require.Equal(t, "list", <-h.lines)
	s.onList = func(context.Context) error { return errors.New("no") }
	h.x.Invalidate(2)
	_, err := h.x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "no")
	require.Equal(t, "list", <-h.lines)
}
