// Package options parses what stands on the command line of ltxfs: sizes,
// permissions, and the options that mount(8) passes with -o.
package options

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with or without a unit. It is a
// pflag.Value.
type Size int64

// units are the suffixes of a Size. None is the end of one before it.
var units = []struct {
	suffix string
	factor int64
}{
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"tib", 1 << 40},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"tb", 1e12},
	{"b", 1},
	{"", 1},
}

// ParseSize parses a whole number of bytes such as 128MiB, 100MB or 65536.
func ParseSize(s string) (Size, error) {
	lower := strings.ToLower(strings.TrimSpace(s))
	for _, unit := range units {
		digits, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil || int64(n) > math.MaxInt64/unit.factor {
			break
		}
		return Size(int64(n) * unit.factor), nil
	}
	return 0, fmt.Errorf("%q is not a size: write a whole number and KiB, MiB, GiB, KB, MB, GB or B, such as 128MiB", s)
}

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	size, err := ParseSize(text)
	if err != nil {
		return err
	}
	*s = size
	return nil
}

// String is the size in the largest binary unit that divides it.
func (s *Size) String() string {
	for _, unit := range []struct {
		name   string
		factor Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if *s != 0 && *s%unit.factor == 0 {
			return fmt.Sprintf("%d%s", *s/unit.factor, unit.name)
		}
	}
	return fmt.Sprintf("%dB", *s)
}

// Type implements pflag.Value.
func (s *Size) Type() string { return "size" }

// Mode is the permissions of a file, in octal. It is a pflag.Value.
type Mode uint32

// ParseMode parses permissions such as 0644 or 755.
func ParseMode(s string) (Mode, error) {
	digits := strings.TrimPrefix(s, "0o")
	m, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || m > 0o777 {
		return 0, fmt.Errorf("%q are no permissions: write three octal digits, such as 0644", s)
	}
	return Mode(m), nil
}

// Set implements pflag.Value.
func (m *Mode) Set(text string) error {
	mode, err := ParseMode(text)
	if err != nil {
		return err
	}
	*m = mode
	return nil
}

func (m *Mode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Type implements pflag.Value.
func (m *Mode) Type() string { return "mode" }
