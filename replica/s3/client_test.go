package s3

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

func TestNew(t *testing.T) {
	s := serve(t, nil)
	c, _ := s.unready(t, func(c *config.Config) { c.Layout = replica.Layout{} })
	require.Equal(t, "s3", c.Type())
	require.True(t, c.Layout().IsZero())
	require.Zero(t, c.Connections())
	require.NoError(t, c.Close())
	require.Empty(t, s.ops(), "nothing is asked")
	_, err := New(config.Config{})
	require.ErrorContains(t, err, "no bucket")

	given, _ := s.unready(t, func(c *config.Config) { c.Layout = replica.Guide })
	require.Equal(t, replica.Guide, given.Layout(), "before Init as well")
}

// However many start at once, the store is asked once, and again after an error.
func TestInitOnce(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, answers{"LIST": inTurn(refuse(403, "AccessDenied"), func(w http.ResponseWriter, r *http.Request) {
		<-release
		bucketOf("db/ltx/0000/"+fileName(1))(w, r)
	}, bucketOf("db/ltx/0000/"+fileName(1)))})
	c, _ := s.unready(t, func(c *config.Config) { c.Layout = replica.Layout{} })
	require.ErrorIs(t, c.Init(t.Context()), os.ErrPermission)
	require.Equal(t, "LIST", s.ops())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := c.Init(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	// One that waits for another's start heeds its own context.
	require.Eventually(t, func() bool { return len(s.seen()) == 2 }, 5*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.Init(ctx), context.DeadlineExceeded)
	close(release)
	wg.Wait()
	require.Equal(t, "LIST LIST LIST", s.ops())
	require.Equal(t, replica.Guide, c.Layout())
	require.NoError(t, c.Init(t.Context()))
	require.Equal(t, "LIST LIST LIST", s.ops())
	require.ErrorIs(t, c.Init(ctx), context.DeadlineExceeded)
}

// Every method starts the client by itself, and fails as that does.
func TestMethodsInit(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Store) error{
		"list": func(ctx context.Context, c *Store) error {
			for _, err := range c.LTXFiles(ctx, 0, replica.ListOptions{}) {
				return err
			}
			return nil
		},
		"open": func(ctx context.Context, c *Store) error {
			_, err := c.OpenLTXFile(ctx, replica.File{Name: nth(1)}, 0, 0)
			return err
		},
		"stat": func(ctx context.Context, c *Store) error {
			_, err := c.StatLTXFile(ctx, nth(1), replica.StatOptions{})
			return err
		},
		"stat exactly": func(ctx context.Context, c *Store) error {
			_, err := c.StatLTXFile(ctx, nth(1), replica.StatOptions{ExactTime: true})
			return err
		},
		"write": func(ctx context.Context, c *Store) error {
			_, err := c.WriteLTXFile(ctx, nth(1), bytes.NewReader(nil), replica.WriteOptions{})
			return err
		},
		"delete":     func(ctx context.Context, c *Store) error { return c.DeleteLTXFiles(ctx, nths(1)...) },
		"delete all": func(ctx context.Context, c *Store) error { return replica.ClientOf(c).DeleteAll(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": refuse(404, "NoSuchBucket")})
			c, _ := s.unready(t)
			err := call(within(t, 10*time.Second), c)
			requireKinds(t, err, ErrNoSuchBucket)
			require.Equal(t, "LIST", s.ops())
			requireNoSecret(t, err.Error())
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, call(ctx, c), context.Canceled)
			require.Equal(t, "LIST", s.ops())
		})
	}
}

// Close ends what is under way, and all connections.
func TestClose(t *testing.T) {
	arrived := make(chan struct{}, 10)
	s := serve(t, answers{"GET": func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		hang(w, r)
	}})
	c := s.store(t, func(c *config.Config) { c.Retry.Attempts = 1 })
	done := make(chan error, 1)
	go func() {
		_, err := c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
		done <- err
	}()
	<-arrived
	require.Equal(t, 1, c.Connections())
	require.NoError(t, c.Close())
	require.Error(t, <-done)
	require.Zero(t, c.Connections())
}

func TestSetLogger(t *testing.T) {
	s := serve(t, nil)
	c, log := s.unready(t)
	c.log().Info("hello")
	require.Contains(t, log.String(), "hello")
	c.SetLogger(nil)
	require.Same(t, slog.Default(), c.log())
}
