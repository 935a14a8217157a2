package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// What fails leaves no parts: it is aborted at once, and once more if a part was cut short.
func TestMultipartFails(t *testing.T) {
	data := bytesOf(6 * testPart)
	odd := errors.New("the disk is gone")
	second := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("partNumber") == "2" {
			refuse(403, "AccessDenied")(w, r)
			return
		}
		partAnswer(w, r)
	}
	for _, tt := range []struct {
		name    string
		changes answers
		r       replica.Content
		is      error
		text    string
	}{
		{"a part", answers{"PART": second}, bytes.NewReader(data), os.ErrPermission, "part 2: UploadPart"},
		{"the end", answers{"COMPLETE": refuse(403, "AccessDenied")}, bytes.NewReader(data), os.ErrPermission, "CompleteMultipartUpload"},
		{"the end, with 200", answers{"COMPLETE": say(200, "<Error><Code>AccessDenied</Code></Error>")}, bytes.NewReader(data), os.ErrPermission, "CompleteMultipartUpload"},
		{"a file that can't be read", nil, &changing{Reader: bytes.NewReader(data), reads: 3, err: odd}, odd, ""},
		{"a file that is cut", nil, &changing{Reader: bytes.NewReader(data), reads: 3, err: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF, ""},
		{"a file that is shorter", nil, &changing{Reader: bytes.NewReader(data), reads: 1, err: io.EOF}, io.ErrUnexpectedEOF, "shorter"},
		{"a file that is shorter when it is sent", nil, &onceReadable{Reader: bytes.NewReader(data)}, io.ErrUnexpectedEOF, "shorter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, inParts(data, tt.changes))
			c := smallParts(s.store(t, func(c *config.Config) { c.SignPayload = new(false) }))
			_, err := write(t, c, tt.r)
			require.ErrorIs(t, err, tt.is)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "write level 0 "+fileName(1))
			aborts := len(s.of("ABORT"))
			switch tt.r.(type) {
			case *bytes.Reader:
				require.Equal(t, 1, aborts)
			case *onceReadable:
				require.Equal(t, 2, aborts)
			default: // it may be read for a checksum or to be sent
				require.Contains(t, []int{1, 2}, aborts)
			}
			require.NoError(t, c.Close())
			require.Len(t, s.of("ABORT"), aborts)
			for _, abort := range s.of("ABORT") {
				require.Equal(t, "upload-1", abort.param("uploadId"))
				require.Equal(t, fileKey(1), abort.key)
			}
		})
	}
}

// guarded is a file that nobody may read once done is set.
type guarded struct {
	*bytes.Reader
	t    *testing.T
	done atomic.Bool
}

func (r *guarded) ReadAt(p []byte, off int64) (int, error) {
	if r.done.Load() {
		r.t.Error("a part is sent while the upload is aborted")
	}
	return r.Reader.ReadAt(p, off)
}

// Once a part has failed, no others are begun, and those under way end before the
// upload is aborted.
func TestMultipartAbortsLast(t *testing.T) {
	data := bytesOf(40 * testPart)
	source := &guarded{Reader: bytes.NewReader(data), t: t}
	others, failure := newMeeting(3), newMeeting(1)
	var ended atomic.Int32
	s := serve(t, inParts(data, answers{
		"PART": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("partNumber") == "2" {
				others.wait(r)
				refuse(403, "AccessDenied")(w, r)
				failure.join()
				return
			}
			others.join()
			failure.wait(r)
			partAnswer(w, r)
			ended.Add(1)
		},
		"ABORT": func(w http.ResponseWriter, _ *http.Request) {
			source.done.Store(true)
			if n := ended.Load(); n < 3 {
				t.Errorf("%d of 3 other parts have ended", n)
			}
			w.WriteHeader(http.StatusNoContent)
		},
	}))
	_, err := write(t, smallParts(s.store(t, func(c *config.Config) { c.Concurrency = 4 })), source)
	require.ErrorIs(t, err, os.ErrPermission)
	require.Len(t, s.of("ABORT"), 1)
	require.Less(t, len(s.of("PART")), 20)
}

// onceReadable ends when an offset is read for the second time, but the first.
type onceReadable struct {
	*bytes.Reader
	mu   sync.Mutex
	read map[int64]bool
}

func (r *onceReadable) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read[off] && off > 0 {
		return 0, io.EOF
	}
	if r.read == nil {
		r.read = map[int64]bool{}
	}
	r.read[off] = true
	return r.Reader.ReadAt(p, off)
}

// A write that is cancelled is aborted although its context is done.
func TestMultipartCancelled(t *testing.T) {
	data := bytesOf(6 * testPart)
	for name, op := range map[string]string{"in a part": "PART", "at the end": "COMPLETE"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := serve(t, inParts(data, answers{op: func(w http.ResponseWriter, r *http.Request) {
				cancel()
				hang(w, r)
			}}))
			_, err := smallParts(s.store(t)).WriteLTXFile(ctx, nth(1), bytes.NewReader(data), replica.WriteOptions{})
			require.ErrorIs(t, err, context.Canceled)
			require.Len(t, s.of("ABORT"), 2, "once more for a part that was on its way")
		})
	}
}

// An end whose answer is lost has been one, if the store has the file.
func TestMultipartLostAnswer(t *testing.T) {
	data := bytesOf(2 * testPart)
	var o owner
	changes := func(complete, head http.HandlerFunc) answers {
		return inParts(data, answers{"CREATE": o.upload(inParts(data, nil)["CREATE"]), "COMPLETE": complete, "HEAD": head})
	}
	mine := o.own(verified(data, "v1-4"))
	s := serve(t, changes(inTurn(reset, refuse(404, "NoSuchUpload")), mine))
	f, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, `"v1-4"`, f.Version.ETag)
	require.Equal(t, map[string]int{"CREATE": 1, "PART": 2, "COMPLETE": 2, "HEAD": 2}, counts(s))

	// The store has another file: no such upload, and not ours.
	s = serve(t, changes(refuse(404, "NoSuchUpload"), verified([]byte("old"), "v0")))
	_, err = write(t, smallParts(s.store(t)), bytes.NewReader(data))
	requireKinds(t, err, errNoSuchUpload)
	require.Empty(t, s.of("DELETE"))

	// An end that fails in a way that may pass is tried again, though it says 200.
	s = serve(t, changes(inTurn(say(200, "<Error><Code>InternalError</Code></Error>"), inParts(data, nil)["COMPLETE"]), mine))
	_, err = write(t, smallParts(s.store(t)), bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"CREATE": 1, "PART": 2, "COMPLETE": 2, "HEAD": 1}, counts(s))
}

func TestMultipartExclusive(t *testing.T) {
	data := bytesOf(2 * testPart)
	var o owner
	mine, other := o.own(verified(data, "v1-4")), verified(flipped(data), "v0", "X-Amz-Meta-Ltxfs-Write-Id", "other")
	precondition := refuse(412, "PreconditionFailed")
	for _, tt := range []struct {
		name     string
		complete http.HandlerFunc
		head     http.HandlerFunc
		is       error
	}{
		{"another's is there", precondition, other, os.ErrExist},
		{"another's, with the same content", precondition, verified(data, "v0"), nil},
		{"its own, whose answer was lost", inTurn(reset, refuse(404, "NoSuchUpload")), mine, nil},
		{"its own, which is in its own way", inTurn(reset, precondition), mine, nil},
		{"another's, and the upload is gone", refuse(404, "NoSuchUpload"), other, os.ErrExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, inParts(data, answers{"CREATE": o.upload(inParts(data, nil)["CREATE"]), "COMPLETE": tt.complete, "HEAD": tt.head}))
			_, err := smallParts(s.store(t)).WriteLTXFile(within(t, 10*time.Second), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
			for _, complete := range s.of("COMPLETE") {
				require.Equal(t, "*", complete.get("If-None-Match"))
			}
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				require.Len(t, s.of("ABORT"), 1)
				return
			}
			require.NoError(t, err)
			if strings.HasPrefix(tt.name, "another's") {
				require.Len(t, s.of("ABORT"), 1, "its parts are of no use")
				return
			}
			require.Empty(t, s.of("ABORT"))
		})
	}
}

// An error within a 200 is as final as its code is, and told with its status.
func TestMultipartErrorIn200(t *testing.T) {
	data := bytesOf(2 * testPart)
	for body, completes := range map[string]int{
		"<Error><Code>AccessDenied</Code><Message>no</Message></Error>":  1,
		"<Error><Code>InvalidPart</Code><Message>no</Message></Error>":   1,
		"<Error><Code>NeverHeardOf</Code><Message>no</Message></Error>":  1,
		"<Error><Code>InternalError</Code><Message>no</Message></Error>": 3,
		"<Error><Code>SlowDown</Code><Message>no</Message></Error>":      3,
		"<Error></Error>": 3,
	} {
		t.Run(body, func(t *testing.T) {
			s := serve(t, inParts(data, answers{"COMPLETE": say(200, body), "HEAD": refuse(404, "")}))
			_, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
			require.Len(t, s.of("COMPLETE"), completes)
			require.Equal(t, 200, answered(err).Status, err)
		})
	}
}

// A 200 that isn't the store's completes nothing: the parts go.
func TestMultipartCompletedByNobody(t *testing.T) {
	data := bytesOf(2 * testPart)
	for name, answer := range map[string]http.HandlerFunc{
		"HTML":  say(200, "<html><body>Welcome</body></html>"),
		"empty": say(200, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, inParts(data, answers{"COMPLETE": answer, "HEAD": refuse(404, "")}))
			_, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
			require.ErrorContains(t, err, "CompleteMultipartUpload")
			require.NotErrorIs(t, err, os.ErrNotExist)
			require.Len(t, s.of("ABORT"), 1)
		})
	}
}
