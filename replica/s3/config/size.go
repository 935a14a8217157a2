package config

import (
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes, which a user writes with or without a unit.
type Size int64

// ParseSize takes bytes, with a unit or without, as Litestream does in its
// configuration: 5242880, 5MiB, 16 MB, 1.5GiB.
func ParseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%s is not a size: write a number and KiB, MiB, GiB, KB, MB, GB or B, such as 128MiB", showValue(s))
	}
	return int64(min(n, math.MaxInt64)), nil
}

// String is the size in the largest binary unit that divides it.
func (s Size) String() string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if factor := Size(1) << (40 - 10*i); s != 0 && s%factor == 0 {
			return fmt.Sprintf("%d%s", s/factor, unit)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}
