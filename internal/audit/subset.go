package audit

import (
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/ltxfs/ltxfs/replica"
)

// Subset is a part of the files. Its zero value is all of them.
type Subset struct {
	n, of   uint32  // the n-th of so many parts, which together are all
	percent float64 // about so many, at random
	size    int64   // about so many bytes, at random
}

// ParseSubset parses a subset: the n-th of some parts, as "1/7"; a share, as "10%"; a size,
// as "5GiB".
func ParseSubset(text string) (s Subset, err error) {
	bad := fmt.Errorf("%q: write a part such as 1/7, a share such as 10%%, or a size such as 5GiB", text)
	if part, of, ok := strings.Cut(text, "/"); ok {
		n, err1 := strconv.ParseUint(part, 10, 32)
		m, err2 := strconv.ParseUint(of, 10, 32)
		if err1 != nil || err2 != nil || n < 1 || n > m {
			return s, bad
		}
		return Subset{n: uint32(n), of: uint32(m)}, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(share, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return s, bad
		}
		return Subset{percent: p}, nil
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > 1<<62 {
		return s, bad
	}
	return Subset{size: int64(size)}, nil
}

// pick picks some of the files. No more are picked than a size says, and at least a share.
func (s Subset) pick(files []replica.File) map[replica.Name]bool {
	picked := map[replica.Name]bool{}
	var size, got int64
	for _, f := range files {
		size += f.Size
	}
	share := int64(math.Ceil(float64(size) * s.percent / 100))
	for _, i := range rand.Perm(len(files)) {
		f := files[i]
		switch {
		case s.of > 0:
			picked[f.Name] = crc32.ChecksumIEEE([]byte(f.Name.String()))%s.of == s.n-1
		case s.percent > 0:
			picked[f.Name] = got < share
		case s.size > 0:
			picked[f.Name] = got+f.Size <= s.size
		default:
			picked[f.Name] = true
		}
		if picked[f.Name] {
			got += f.Size
		}
	}
	return picked
}
