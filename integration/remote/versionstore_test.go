package remote

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"html"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cell is the unit of content: each says of which version it is.
const cell = 64

// object is one version of a key, as another writer made it.
type object struct {
	number   int64 // that its content says
	data     []byte
	modified time.Time
	since    time.Time // when it became what the store has
}

func newObject(number, size int64, modified time.Time) *object {
	var b bytes.Buffer
	for int64(b.Len()) < size {
		fmt.Fprintf(&b, "%0*d\n", cell-1, number)
	}
	return &object{number: number, data: b.Bytes()[:size], modified: modified, since: time.Now()}
}

// habits are how a store tells of its objects.
type habits struct {
	list, get   string // which ETags listings and other answers have; see etag
	zone        time.Duration
	fractions   bool // listings have milliseconds
	roundUp     bool // other answers round them up
	headRoundUp bool // a HEAD does
	headNoTime  bool
	conditions  string // "kept", "ignored", or "refused"
	smallWrites bool   // all of one size
	late        bool   // listings show what was there up to a second ago
	unsteady    bool   // other answers have the time of now; ETags tell versions apart then
}

func drawHabits(rng *rand.Rand) habits {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	h := habits{conditions: pick("kept", "kept", "ignored", "refused")}
	h.list = pick("content", "none", "fixed", "name", "size", "weak", "bare")
	h.get = h.list
	switch rng.IntN(6) {
	case 0:
		h.get = "none"
	case 1:
		h.list = "none"
	case 2:
		h.list, h.get = "content", "upper"
	}
	if rng.IntN(3) == 0 {
		h.zone = time.Duration(rng.IntN(53)-24) * 30 * time.Minute
	}
	h.fractions, h.roundUp = rng.IntN(2) == 0, rng.IntN(4) == 0
	h.headNoTime, h.smallWrites = rng.IntN(6) == 0, rng.IntN(2) == 0
	h.late, h.headRoundUp = rng.IntN(3) == 0, h.roundUp || rng.IntN(4) == 0
	if rng.IntN(6) == 0 {
		h.list, h.get, h.unsteady = "content", "content", true
	}
	return h
}

// etag is the ETag that a kind of answer gives a version.
func etag(kind, key string, o *object) string {
	sum := md5.Sum(o.data)
	content := hex.EncodeToString(sum[:])
	switch kind {
	case "content":
		return `"` + content + `"`
	case "bare":
		return content
	case "upper":
		return `"` + strings.ToUpper(content) + `"`
	case "weak":
		return `W/"` + content + `"`
	case "fixed":
		return `"fixed-1"`
	case "name":
		h := fnv.New64a()
		_, _ = h.Write([]byte(key))
		return fmt.Sprintf(`"%x"`, h.Sum64())
	case "size":
		return fmt.Sprintf(`"%d"`, len(o.data))
	}
	return ""
}

// versionStore is a bucket whose objects other writers replace.
type versionStore struct {
	*httptest.Server
	habits habits

	mu      sync.Mutex
	objects map[string]*object
	past    map[string][]*object // all versions so far
	number  int64
	busy    bool // other writers act between requests
	rng     *rand.Rand
}

func newVersionStore(h habits, rng *rand.Rand) *versionStore {
	s := &versionStore{habits: h, objects: map[string]*object{}, past: map[string][]*object{}, busy: true, rng: rng}
	s.Server = httptest.NewServer(s)
	return s
}

// replace has another writer replace an object by a version that no ETag, size and time
// together are those of an earlier one.
func (s *versionStore) replace(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	was := s.objects[key]
	for {
		number, size := s.number, int64(200<<10)
		if !s.habits.smallWrites {
			size = int64(1+s.rng.IntN(4)) * 100 << 10
		}
		if was != nil && s.rng.IntN(6) == 0 { // with the same content
			number, size = was.number, int64(len(was.data))
		}
		// Some are older than what they replace, as a copy that keeps the times is.
		modified := time.Now().Add(-time.Duration(5000+s.rng.IntN(40)) * time.Second)
		if s.rng.IntN(8) == 0 {
			modified = time.Now()
		}
		o := newObject(number, size, modified)
		if slices.ContainsFunc(s.past[key], func(p *object) bool { return s.looksLike(key, o, p) }) {
			continue
		}
		s.objects[key], s.past[key] = o, append(s.past[key], o)
		return
	}
}

// interfere has another writer act between two requests, now and then.
func (s *versionStore) interfere(key string) {
	s.mu.Lock()
	now := s.busy && s.rng.IntN(40) == 0
	s.mu.Unlock()
	if now {
		s.replace(key)
	}
}

// calm ends what other writers do between requests.
func (s *versionStore) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
}

// looksLike reports whether nothing tells one version from another, in any answer.
func (s *versionStore) looksLike(key string, a, b *object) bool {
	if len(a.data) != len(b.data) {
		return false
	}
	sameTime := a.modified.Unix() == b.modified.Unix() || s.shown(a, false).Equal(s.shown(b, false)) || s.shown(a, true).Equal(s.shown(b, true))
	sameTag := func(kind string) bool { return etag(kind, key, a) == etag(kind, key, b) }
	return sameTime && (sameTag(s.habits.list) || sameTag(s.habits.get))
}

// shown is the time of modification in answers that are no listings.
func (s *versionStore) shown(o *object, head bool) time.Time {
	t := o.modified.Truncate(time.Second)
	if (s.habits.roundUp || head && s.habits.headRoundUp) && !t.Equal(o.modified) {
		t = t.Add(time.Second)
	}
	return t
}

// history says of a key's versions how answers have shown them.
func (s *versionStore) history(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, o := range s.past[key] {
		fmt.Fprintf(&b, "%d: %d bytes, modified %s, shown as %s, since %s\n", o.number, len(o.data), o.modified.UTC().Format(time.RFC3339Nano),
			s.shown(o, false).UTC().Format(time.RFC3339), o.since.UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}

// rewritten reports whether a version isn't what the store has of a key, or was written
// again.
func (s *versionStore) rewritten(key string, number int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := 0
	for _, o := range s.past[key] {
		if o.number == number {
			times++
		}
	}
	return times > 1 || s.objects[key].number != number
}

// before is what the store had of a key at a time, or at first.
func (s *versionStore) before(key string, at time.Time) *object {
	past := s.past[key]
	for _, o := range slices.Backward(past) {
		if o.since.Before(at) {
			return o
		}
	}
	return past[0]
}

// now is what the store has of a key.
func (s *versionStore) now(key string) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

func (s *versionStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		if r.Method == http.MethodGet {
			s.list(w, r)
		}
		return
	}
	s.interfere(key)
	o := s.now(key)
	if o == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	modified := s.shown(o, r.Method == http.MethodHead)
	if s.habits.unsteady {
		modified = time.Now()
	}
	tag := etag(s.habits.get, key, o)
	if tag != "" {
		w.Header()["Etag"] = []string{tag}
	}
	if r.Method == http.MethodGet || !s.habits.headNoTime {
		w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	if !s.holds(r, tag, modified) {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	first, last := 0, len(o.data)-1
	status := http.StatusOK
	if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && r.Method == http.MethodGet {
		from, to, _ := strings.Cut(spec, "-")
		first, _ = strconv.Atoi(from)
		if n, err := strconv.Atoi(to); err == nil {
			last = min(last, n)
		}
		if first > last {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(o.data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(o.data[first : last+1])
	}
}

// holds reports whether the conditions of a request hold.
func (s *versionStore) holds(r *http.Request, tag string, modified time.Time) bool {
	match, since := r.Header.Get("If-Match"), r.Header.Get("If-Unmodified-Since")
	switch s.habits.conditions {
	case "ignored":
		return true
	case "refused":
		return match == "" && since == ""
	}
	if match != "" {
		return match == tag && !strings.HasPrefix(tag, "W/")
	}
	t, err := http.ParseTime(since)
	return err != nil || !modified.After(t)
}

func (s *versionStore) list(w http.ResponseWriter, r *http.Request) {
	prefix := r.URL.Query().Get("prefix")
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]string, 0, len(s.objects))
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>`)
	dirs := map[string]bool{}
	for _, key := range keys {
		if dir, _, ok := strings.Cut(key[len(prefix):], "/"); ok && r.URL.Query().Get("delimiter") == "/" {
			if !dirs[dir] {
				dirs[dir] = true
				fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s/</Prefix></CommonPrefixes>", prefix+dir)
			}
			continue
		}
		o := s.objects[key]
		if s.habits.late {
			o = s.before(key, time.Now().Add(-time.Second))
		}
		at := o.modified.UTC().Add(s.habits.zone).Truncate(time.Millisecond)
		if !s.habits.fractions {
			at = at.Truncate(time.Second)
		}
		fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><LastModified>%s</LastModified><ETag>%s</ETag></Contents>",
			key, len(o.data), at.Format("2006-01-02T15:04:05.000Z"), html.EscapeString(etag(s.habits.list, key, o)))
	}
	fmt.Fprint(w, "</ListBucketResult>")
}
