package document

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// UnknownSize is the total of a range that doesn't tell it.
const UnknownSize = -1

// ContentRange parses the header Content-Range, "bytes FIRST-LAST/TOTAL", or with "*" for
// an unknown total.
func ContentRange(s string) (first, last, total int64, err error) {
	spec, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(spec, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if ok && ok2 && ok3 {
		var errs [3]error
		first, errs[0] = parseNumber(from)
		last, errs[1] = parseNumber(to)
		if total = UnknownSize; size != "*" {
			total, errs[2] = parseNumber(size)
		}
		if errors.Join(errs[:]...) == nil && first <= last && (last < total || size == "*") {
			return first, last, total, nil
		}
	}
	return 0, 0, 0, fmt.Errorf("not a range: %.60q", s)
}

// parseNumber parses digits alone, of a number that an int64 can hold.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
