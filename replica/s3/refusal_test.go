package s3

import (
	"bytes"
	"net/http"
	"os"
	"sync"
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
				require.Equal(t, tt.conditions, c.lacks(ifNoneMatch))
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

// A bare 400 gives a condition up for the write that it comes again for, and for others
// only once it has come for two. One that passes teaches nothing.
func TestBareRefusals(t *testing.T) {
	data := bytesOf(100)
	const checksum, condition = "X-Amz-Checksum-Crc64nvme", "If-None-Match"
	for _, tt := range []struct {
		name  string
		times int    // that what has the header is refused
		of    string // the header, or "" for any request
		lacks [2]int // after how many writes it is known to lack checksums, and conditions
		puts  []int  // of each write
	}{
		{"passes", 1, "", [2]int{}, []int{2, 1, 1}},
		{"passes with conditions", 1, condition, [2]int{}, []int{2, 1, 1}},
		{"passes late", 3, "", [2]int{}, []int{4, 1, 1}},
		{"conditions, once", 3, condition, [2]int{}, []int{4, 1, 1}},
		{"conditions", 99, condition, [2]int{0, 2}, []int{4, 4, 1}},
		{"checksums", 99, checksum, [2]int{1, 0}, []int{3, 1, 1}},
		{"comes and goes", 2, "", [2]int{1, 0}, []int{3, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var o owner
			there, summed, refused := false, false, 0
			s := serve(t, answers{
				"PUT": func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					if refused < tt.times && (tt.of == "" || r.Header.Get(tt.of) != "") {
						refused++
						refuse(400, "InvalidRequest")(w, r)
						return
					}
					there, summed = true, r.Header.Get(checksum) != ""
					o.upload(stored("v1"))(w, r)
				},
				"HEAD": func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case !there:
						refuse(404, "")(w, r)
					case summed:
						o.own(verified(data, "v1"))(w, r)
					default:
						o.own(object(data, "v1"))(w, r)
					}
				},
				"GET": object(data, "v1"),
			})
			c := s.store(t)
			for i, puts := range tt.puts {
				there = false
				before := len(s.of("PUT"))
				_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
				require.NoError(t, err)
				require.Len(t, s.of("PUT"), before+puts, "write %d", i)
				for j, l := range []lack{uploadChecksums, ifNoneMatch} {
					require.Equal(t, tt.lacks[j] > 0 && i+1 >= tt.lacks[j], c.lacks(l), "%s after write %d", lacks[l].name, i)
				}
			}
			require.Equal(t, c.lacks(uploadChecksums), c.lacks(storedChecksums), "a file that was sent without a checksum has none")
		})
	}
}

// What is wrong is deleted without a condition only where the store doesn't know those.
func TestDiscardKeepsItsCondition(t *testing.T) {
	data := bytesOf(100)
	const condition = "If-Match"
	for name, tt := range map[string]struct {
		answer  http.HandlerFunc
		deletes []string // their conditions
	}{
		"a 400 that passes": {inTurn(refuse(400, "InvalidRequest"), say(204, "")), []string{`"v1"`, `"v1"`}},
		"a 400 that stays":  {refuse(400, "InvalidRequest"), []string{`"v1"`, `"v1"`, ""}},
		"not implemented":   {refusing(say(204, ""), condition), []string{`"v1"`, ""}},
	} {
		s := serve(t, answers{"PUT": stored("v1"), "HEAD": verifiedAs(data, "AAAAAAAAAAA=", "v1"), "DELETE": tt.answer})
		_, err := write(t, s.store(t), bytes.NewReader(data))
		require.ErrorIs(t, err, ErrVerify)
		var conditions []string
		for _, c := range s.of("DELETE") {
			conditions = append(conditions, c.get(condition))
		}
		require.Equal(t, tt.deletes, conditions, name)
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
	require.False(t, c.lacks(ifNoneMatch))

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
	require.False(t, c.lacks(ifMatch))
}

// What is learned of a store is told with its endpoint: buckets of one name are in many.
func TestLearnNamesEndpoint(t *testing.T) {
	s := serve(t, nil)
	c, log := s.logging(t)
	c.learn(keyOrder, nil)
	require.Contains(t, log.String(), "replica=s3://bucket/db endpoint="+s.URL)
	requireNoSecret(t, log.String())
}
