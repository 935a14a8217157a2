package settings

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Mode is the permissions of a file.
type Mode uint32

func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// value is a row's field in a Mount, as a pflag.Value.
type value struct {
	field any
	arg   string
}

func (r *row) value(m *Mount) value { return value{r.field(m), r.arg} }

// Type implements pflag.Value.
func (v value) Type() string {
	if v.arg == "" {
		return "bool"
	}
	return v.arg
}

// Set implements pflag.Value.
func (v value) Set(text string) (err error) {
	switch p := v.field.(type) {
	case *string:
		*p = text
	case *config.VerifyMode:
		*p = config.VerifyMode(text)
	case *[]string:
		*p = append(*p, text)
	case *bool:
		if *p, err = strconv.ParseBool(text); err != nil {
			return errors.New("neither true nor false")
		}
	case *uint32:
		*p, err = parseNumber(text)
	case **int:
		var n uint32
		n, err = parseNumber(text)
		*p = new(int(n))
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	case **time.Duration:
		*p = new(time.Duration)
		**p, err = time.ParseDuration(text)
	case *Size:
		whole := strings.TrimRight(text, "0123456789")
		if strings.Contains(text, ",") || strings.HasSuffix(whole, ".") { // 1,5GiB would be 15GiB, and 1.5 one byte
			return fmt.Errorf("%q has a comma, or a fraction of a byte: write 1.5GiB or 1000000", text)
		}
		var n int64
		n, err = config.ParseSize(text)
		*p = Size(n)
	case *Mode:
		var n uint64
		if n, err = strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32); err != nil || n > 0o777 {
			return fmt.Errorf("%q are no permissions: write three octal digits, such as 0644", text)
		}
		*p = Mode(n)
	}
	return err
}

func parseNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 0, 32)
	var why *strconv.NumError
	if errors.As(err, &why) {
		return 0, fmt.Errorf("not a number that can be: %w", why.Err)
	}
	return uint32(n), nil
}

// String is the value as Set takes it, and "" for what isn't set.
func (v value) String() string {
	at := reflect.ValueOf(v.field).Elem()
	if at.Kind() == reflect.Pointer {
		if at.IsNil() {
			return ""
		}
		at = at.Elem()
	}
	if list, ok := at.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(at.Interface())
}
