package s3

import (
	"bytes"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// refusing is an answer of a store that doesn't know some headers.
func refusing(then http.HandlerFunc, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, name := range headers {
			if r.Header.Get(name) != "" {
				refuse(http.StatusNotImplemented, "NotImplemented")(w, r)
				return
			}
		}
		then(w, r)
	}
}

// An exclusive write gives up its condition only for a store that doesn't know it,
// and then looks first whether the name is free.
func TestRefusedConditions(t *testing.T) {
	const checksum, condition = "X-Amz-Checksum-Crc64nvme", "If-None-Match"
	data := bytesOf(100)
	var o owner
	for _, tt := range []struct {
		name                   string
		unknown                []string
		checksums, conditions  bool // that are refused from then on
		first, second, another string
	}{
		{"checksums", []string{checksum}, true, false, "PUT PUT HEAD", "PUT HEAD", "PUT HEAD"},
		{"conditions", []string{condition}, false, true, "PUT PUT HEAD PUT HEAD", "HEAD PUT HEAD", "HEAD"},
		{"both", []string{checksum, condition}, false, true, "PUT PUT HEAD PUT HEAD", "HEAD PUT HEAD PUT HEAD", "HEAD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			there := false
			s := serve(t, answers{
				"PUT": refusing(func(w http.ResponseWriter, r *http.Request) {
					if there && r.Header.Get(condition) != "" {
						refuse(412, "PreconditionFailed")(w, r)
						return
					}
					there = true
					o.upload(stored("v1"))(w, r)
				}, tt.unknown...),
				"HEAD": func(w http.ResponseWriter, r *http.Request) {
					if !there {
						refuse(404, "")(w, r)
						return
					}
					o.own(verified(data, "v1"))(w, r)
				},
			})
			c := s.store(t)
			for _, want := range []string{tt.first, tt.second} {
				there = false
				before := len(s.ops())
				_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
				require.NoError(t, err)
				require.Equal(t, want, trimmed(s.ops()[before:]))
				require.Equal(t, tt.conditions, c.lacks(conditions))
			}
			require.Equal(t, tt.checksums || len(tt.unknown) == 2, c.lacks(uploadChecksums))

			// What is there is not replaced.
			before := len(s.ops())
			_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(flipped(data)), replica.WriteOptions{Exclusive: true})
			require.ErrorIs(t, err, os.ErrExist)
			require.Equal(t, tt.another, trimmed(s.ops()[before:]))
		})
	}
}

// trimmed is a list of operations without the blank before it.
func trimmed(ops string) string {
	if len(ops) > 0 && ops[0] == ' ' {
		return ops[1:]
	}
	return ops
}

// A refusal that has another reason leaves no header out afterwards.
func TestRefusedForAnotherReason(t *testing.T) {
	s := serve(t, answers{"PUT": refuse(501, "NotImplemented"), "HEAD": refuse(404, "")})
	c := s.store(t)
	_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(bytesOf(10)), replica.WriteOptions{Exclusive: true})
	require.ErrorContains(t, err, "NotImplemented")
	require.Equal(t, "PUT PUT HEAD PUT", s.ops())
	require.False(t, c.lacks(uploadChecksums))
	require.False(t, c.lacks(conditions))

	// Where nothing is left to leave out, nothing is tried again.
	s = serve(t, answers{"PUT": refuse(501, "NotImplemented")})
	_, err = write(t, s.store(t, func(c *config.Config) { c.NoChecksums = true }), bytes.NewReader(bytesOf(10)))
	require.ErrorContains(t, err, "NotImplemented")
	require.Equal(t, "PUT", s.ops())
}

// A read that is invalid for another reason, such as the wrong key of SSE-C, teaches
// nothing of conditions.
func TestRefusedReadTeachesNothing(t *testing.T) {
	s := serve(t, answers{"GET": refuse(400, "InvalidRequest")})
	c := s.store(t)
	_, err := c.OpenLTXFile(t.Context(), replica.File{Name: nth(1), Version: replica.Version{ETag: `"v1"`, Size: 10}}, 0, 0)
	require.ErrorContains(t, err, "InvalidRequest")
	require.Equal(t, "GET GET", s.ops(), "once without the condition")
	require.False(t, c.lacks(matching))
}
