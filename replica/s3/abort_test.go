package s3

import (
	"bytes"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// What can't be aborted is kept for the next failed upload, or for the end.
func TestAbortLater(t *testing.T) {
	data := bytesOf(2 * testPart)
	var down atomic.Bool
	down.Store(true)
	n := atomic.Int32{}
	s := serve(t, inParts(data, answers{
		"CREATE": func(w http.ResponseWriter, r *http.Request) {
			id := string('a' - 1 + rune(n.Add(1)))
			say(200, "<InitiateMultipartUploadResult><UploadId>"+id+"</UploadId></InitiateMultipartUploadResult>")(w, r)
		},
		"PART": refuse(403, "AccessDenied"),
		"ABORT": func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				refuse(403, "AccessDenied")(w, r)
				return
			}
			say(204, "")(w, r)
		},
	}))
	c, log := s.logging(t)
	smallParts(c)
	aborted := func() (ids []string) {
		for _, call := range s.of("ABORT") {
			ids = append(ids, call.param("uploadId"))
		}
		return ids
	}
	_, err := write(t, c, bytes.NewReader(data))
	require.Error(t, err)
	require.Equal(t, []string{"a"}, aborted())
	require.Contains(t, log.String(), "parts of a failed upload are left in the bucket")

	_, err = write(t, c, bytes.NewReader(data))
	require.Error(t, err)
	require.Equal(t, []string{"a", "a", "b"}, aborted())

	err = c.Close()
	require.ErrorContains(t, err, "abort the upload of "+fileKey(1))
	require.Equal(t, []string{"a", "a", "b", "a", "b"}, aborted())

	_, err = write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, os.ErrClosed)
}

// An upload that is gone needs no abort.
func TestAbortGone(t *testing.T) {
	data := bytesOf(2 * testPart)
	for _, answer := range []http.HandlerFunc{refuse(404, "NoSuchUpload"), refuse(404, "NoSuchKey"), refuse(404, "")} {
		s := serve(t, inParts(data, answers{"PART": refuse(403, "AccessDenied"), "ABORT": answer}))
		c, log := s.logging(t)
		_, err := write(t, smallParts(c), bytes.NewReader(data))
		require.Error(t, err)
		require.NoError(t, c.Close())
		require.Len(t, s.of("ABORT"), 1)
		require.NotContains(t, log.String(), "are left")
	}
}

// Aborting takes no longer than configured.
func TestAbortHangs(t *testing.T) {
	data := bytesOf(2 * testPart)
	s := serve(t, inParts(data, answers{"PART": refuse(403, "AccessDenied"), "ABORT": hang}))
	c := smallParts(s.store(t, func(c *config.Config) { c.Timeouts.CleanUp = 50 * time.Millisecond }))
	began := time.Now()
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorContains(t, err, "AccessDenied")
	require.Error(t, c.Close())
	require.Less(t, time.Since(began), 3*time.Second)
}
