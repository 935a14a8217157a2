package s3

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// bucket is what all requests share.
type bucket struct {
	cfg    config.Config // complete
	logger atomic.Pointer[slog.Logger]
	life   context.Context // ends with the store
	conns  *transport.Connections
	pace   *transport.Pace
	pages  *semaphore.Weighted // that listings are ahead, see maxAhead

	// alive is when the bucket was last seen, in Unix nanoseconds, and ahead by how
	// much the store's clock is ahead, by its last answer.
	alive, ahead atomic.Int64

	lacking [len(lacks)]atomic.Bool
	refused [len(lacks)]atomic.Bool // whether the store refused a condition when it was sent last
	seen    *witnesses

	slowPage time.Duration // see slowPage
}

func (b *bucket) log() *slog.Logger { return b.logger.Load() }

// aliveFor is how long the bucket counts as there once it was seen, when a store
// says that an object isn't: its answer to HEAD doesn't tell which is missing.
const aliveFor = 5 * time.Second

func (b *bucket) sawBucket() { b.alive.Store(time.Now().UnixNano()) }

// now is the time by the store's clock, to the second.
func (b *bucket) now() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }

// isAhead reports whether a time is later than now, so that it is of another zone.
func (b *bucket) isAhead(t time.Time) bool { return t.After(b.now().Add(time.Second)) }

// sawDate notes the time of an answer.
func (b *bucket) sawDate(date string) {
	if t, err := http.ParseTime(date); err == nil {
		b.ahead.Store(int64(time.Until(t)))
	}
}

func (b *bucket) sawBucketLately() bool {
	return time.Since(time.Unix(0, b.alive.Load())) < aliveFor
}

// lack is something that a store can't do, or refuses.
type lack int

const (
	uploadChecksums lack = iota
	ifNoneMatch
	deletionOfMany
	batchChecksums
	storedChecksums
	goodETags
	allETags
	ifMatch
	ifUnmodifiedSince
	oneWording
	headTimes
	steadyTimes
	keyOrder
	listV2
	startAfter
	listTimes
	exactTimes
)

// lacks say what it is, and what the log says once it is found out.
var lacks = [...]struct {
	name  string
	level slog.Level
	text  string
}{
	uploadChecksums: {"checksums with uploads", slog.LevelWarn, "the store doesn't know checksums with uploads; going on without"},
	ifNoneMatch:     {"If-None-Match", slog.LevelWarn, "the store doesn't know conditional writes; going on without, so that another writer may come between"},
	deletionOfMany:  {"deletion of many", slog.LevelInfo, "the store deletes no more than one object with a request"},
	batchChecksums:  {"checksums with deletions", slog.LevelInfo, "the store wants Content-MD5 with deletions, and no other checksum"},
	storedChecksums: {"checksums of whole files", slog.LevelInfo, "the store has no checksums of whole files: what is written is read back"},
	goodETags: {"ETags that tell contents apart", slog.LevelWarn, "the store's ETags don't tell versions of a file apart: sizes and times of modification do from now on, " +
		"which two versions of one size from the same second have in common"},
	allETags: {"ETags in all answers", slog.LevelWarn, "the store gives answers without an ETag: sizes and times of modification tell versions apart then, " +
		"which two of one size from the same second have in common"},
	ifMatch:           {"If-Match", slog.LevelWarn, "the store refuses If-Match; going on without, comparing what it answers"},
	ifUnmodifiedSince: {"If-Unmodified-Since", slog.LevelWarn, "the store refuses If-Unmodified-Since; going on without, comparing what it answers"},
	oneWording:        {"the same words for versions in all answers", slog.LevelInfo, "the store's listings and its other answers show versions in different words; going on with those of listings"},
	headTimes:         {"times of modification with HEAD", slog.LevelInfo, "the store gives answers to HEAD without a time of modification: listings tell it"},
	steadyTimes:       {"steady times of modification", slog.LevelInfo, "the store shows one version of a file with ever other times of modification: only its ETag tells"},
	keyOrder:          {"listings in order", slog.LevelInfo, "the store doesn't list in the order of keys; its listings are sorted"},
	listV2:            {"ListObjectsV2", slog.LevelInfo, "the store knows neither continuation tokens nor start-after; going on with ListObjects, and markers"},
	startAfter:        {"start-after", slog.LevelInfo, "the store can't be asked for what comes after a key; its listings are made one page after the other"},
	listTimes:         {"sizes and times in listings", slog.LevelWarn, "the store lists files without a size or a time that can be understood; such files are asked for one by one"},
	exactTimes:        {"exact times of all files", slog.LevelWarn, "the store refuses to show some files: those have the time that is listed in the place of the exact one"},
}

// lacks reports whether the store is known not to have something.
func (b *bucket) lacks(l lack) bool { return b.lacking[l].Load() }

// found are the names of what the store is known not to have.
func (b *bucket) found() (names []string) {
	for l := range b.lacking {
		if b.lacks(lack(l)) {
			names = append(names, lacks[l].name)
		}
	}
	return names
}

// learn notes that the store hasn't something, and says so once; cause, if not nil,
// is its answer that shows it.
func (b *bucket) learn(l lack, cause error) {
	if b.lacking[l].Load() || l == allETags && b.lacks(goodETags) || b.lacking[l].Swap(true) {
		return
	}
	attrs := []slog.Attr{slog.String("replica", b.cfg.String())}
	if b.cfg.Endpoint != "" {
		attrs = append(attrs, slog.String("endpoint", b.cfg.Endpoint))
	}
	if cause != nil {
		attrs = append(attrs, slog.Any("error", cause))
	}
	b.log().LogAttrs(context.Background(), lacks[l].level, lacks[l].text, attrs...)
}
