package s3test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Synthetic is a store of one replica, at db/ in any bucket, of which level 0 has many files. They exist as numbers alone: they can be
// listed and asked for, as in S3, but not read. It is an http.Handler.
type Synthetic struct {
	// Name is the name of the i-th file, which comes after those before it; nil is Dense.
	Name func(i int) replica.Name

	// Strays are names of what else is in the level, in order.
	Strays []string

	// PageSize is the most entries of a page; 0 is 1,000.
	PageSize int

	// Delay is what a page of the level takes.
	Delay time.Duration

	// Before, if set, is called before such a page is answered. It may wait, and have it refused.
	Before func(p SyntheticPage) (refuse bool)

	mu        sync.Mutex
	files     int
	deleted   map[int]bool
	pages     []SyntheticPage
	now, most int
}

// SyntheticPage is a page of the level.
type SyntheticPage struct {
	StartAfter string // as it was asked for
	First      int    // file that may be on it
	Files      int
	Last       bool // of the listing
}

// SyntheticReplica is the path of a Synthetic's replica.
const SyntheticReplica = "db"

const syntheticLevel = SyntheticReplica + "/0000/"

// Dense is the name of the i-th of files that have a transaction each.
func Dense(i int) replica.Name {
	return replica.Name{MinTXID: ltx.TXID(i + 1), MaxTXID: ltx.TXID(i + 1)}
}

// NewSynthetic returns a store of n files.
func NewSynthetic(n int) *Synthetic {
	return &Synthetic{Name: Dense, files: n, deleted: map[int]bool{}}
}

// Start serves the store until the test ends, and returns the URL of its replica.
func (s *Synthetic) Start(t testing.TB) string {
	t.Helper()
	return URL(s.Serve(t), "synthetic", SyntheticReplica)
}

// Serve is Start, which returns the endpoint.
func (s *Synthetic) Serve(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// Env has credentials, which it doesn't check.
func (s *Synthetic) Env() []string { return childEnv("synthetic", "synthetic") }

// Add makes there be n more files.
func (s *Synthetic) Add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files += n
}

// Delete deletes the i-th file.
func (s *Synthetic) Delete(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted[i] = true
}

// Restore undoes Delete.
func (s *Synthetic) Restore(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.deleted, i)
}

// Pages are those that were answered since they were last asked for, in the order in which they were asked for.
func (s *Synthetic) Pages() (pages []SyntheticPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pages, s.pages = s.pages, nil
	return pages
}

// AtOnce is how many pages have been under way at a time.
func (s *Synthetic) AtOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// ServeHTTP implements http.Handler.
func (s *Synthetic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key := splitPath(r)
	query := r.URL.Query()
	switch prefix := query.Get("prefix"); {
	case key != "":
		s.object(w, r, key)
	case r.Method == http.MethodHead:
	case strings.HasPrefix(prefix, syntheticLevel+"0"):
		var entry []byte
		if i := s.find(prefix); i >= 0 {
			entry = appendEntry(nil, prefix, i)
		}
		answerListing(w, false, "", string(entry))
	case prefix == syntheticLevel:
		s.list(w, r)
	case strings.HasPrefix(syntheticLevel, prefix) && s.len() > 0:
		dir, _, _ := strings.Cut(strings.TrimPrefix(syntheticLevel, prefix), "/")
		answerListing(w, false, "", "<CommonPrefixes><Prefix>"+prefix+dir+"/</Prefix></CommonPrefixes>")
	default:
		answerListing(w, false, "", "")
	}
}

func (s *Synthetic) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// object answers for a file.
func (s *Synthetic) object(w http.ResponseWriter, r *http.Request, key string) {
	i := s.find(key)
	if i < 0 || r.Method != http.MethodHead {
		Fail(http.StatusNotFound, "NoSuchKey")(w, r)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(syntheticSize(i)))
	w.Header().Set("ETag", fmt.Sprintf(`"%032x"`, i))
	w.Header().Set("Last-Modified", syntheticTime(i).Format(http.TimeFormat))
}

// find is the file of a key, or -1.
func (s *Synthetic) find(key string) int {
	i := s.after(key) - 1
	if i < 0 || s.key(i) != key || s.isDeleted(i) {
		return -1
	}
	return i
}

func (s *Synthetic) key(i int) string { return syntheticLevel + s.Name(i).Base() }

func (s *Synthetic) isDeleted(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted[i]
}

// after is the first file that comes after a key.
func (s *Synthetic) after(key string) int {
	return sort.Search(s.len(), func(i int) bool { return s.key(i) > key })
}

func syntheticSize(i int) int       { return 100 + i*7919%100_003 }
func syntheticTime(i int) time.Time { return time.Unix(1_700_000_000+int64(i), 0).UTC() }

// list answers a page of the level.
func (s *Synthetic) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	p := SyntheticPage{StartAfter: query.Get("start-after")}
	after := p.StartAfter
	if token := query.Get("continuation-token"); token != "" {
		after = token
	}
	most := cmp.Or(s.PageSize, 1000)
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		most = min(most, n)
	}
	files := s.len()
	p.First = s.after(after)
	strays := s.Strays[sort.Search(len(s.Strays), func(j int) bool { return syntheticLevel+s.Strays[j] > after }):]
	entries := make([]byte, 0, most*220)
	i, n := p.First, 0
	for ; n < most && (i < files || len(strays) > 0); n++ {
		if i == files || len(strays) > 0 && syntheticLevel+strays[0] < s.key(i) {
			after, strays = syntheticLevel+strays[0], strays[1:]
			entries = appendEntry(entries, after, 0)
			continue
		}
		if s.isDeleted(i) {
			n--
		} else {
			after = s.key(i)
			entries = appendEntry(entries, after, i)
			p.Files++
		}
		i++
	}
	p.Last = i == files && len(strays) == 0
	s.begin(p)
	refuse := s.Before != nil && s.Before(p)
	time.Sleep(s.Delay)
	s.end()
	if refuse {
		Fail(http.StatusForbidden, "AccessDenied")(w, r)
		return
	}
	answerListing(w, !p.Last, after, string(entries))
}

func (s *Synthetic) begin(p SyntheticPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages = append(s.pages, p)
	s.now++
	s.most = max(s.most, s.now)
}

func (s *Synthetic) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

func appendEntry(p []byte, key string, i int) []byte {
	p = append(p, "<Contents><Key>"...)
	p = append(p, key...)
	p = append(p, "</Key><LastModified>"...)
	p = syntheticTime(i).AppendFormat(p, time.RFC3339)
	p = fmt.Appendf(p, "</LastModified><ETag>&quot;%032x&quot;</ETag><Size>%d</Size></Contents>", i, syntheticSize(i))
	return p
}

func answerListing(w http.ResponseWriter, truncated bool, token, entries string) {
	body := fmt.Sprintf(`<?xml version="1.0"?><ListBucketResult><Name>synthetic</Name><IsTruncated>%t</IsTruncated>`, truncated)
	if truncated {
		body += "<NextContinuationToken>" + token + "</NextContinuationToken>"
	}
	body += entries + "</ListBucketResult>"
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write([]byte(body))
}

// Listed are the names of all files.
func (s *Synthetic) Listed() (names []replica.Name) {
	for i := range s.len() {
		if !s.isDeleted(i) {
			names = append(names, s.Name(i))
		}
	}
	return slices.Clip(names)
}
