package s3

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// The bounds that S3 sets to the parts of an upload, but for its last.
const (
	minPartSize = 5 << 20
	maxPartSize = 5 << 30
)

const sseAlgorithm = "AES256"

var (
	regionRegex = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	tokenRegex  = regexp.MustCompile(`^[!-~]+$`)
	sizeRegex   = regexp.MustCompile(`^([0-9.,]+)\s*([a-zA-Z]*)$`)
)

// showValue is a value in an error: quoted, and not at any length.
func showValue(value string) string {
	if utf8.RuneCountInString(value) > 64 {
		value = string([]rune(value)[:64]) + "…"
	}
	return strconv.Quote(value)
}

// parseBoolValue takes what Litestream takes. What it doesn't know is false for
// Litestream, and an error here.
func parseBoolValue(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "t", "yes":
		return true, nil
	case "false", "0", "f", "no":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", showValue(s))
}

func parseIntValue(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s is not a positive whole number", showValue(s))
	}
	return int(n), nil
}

func checkBounds(n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%d is not between %d and %d", n, least, most)
	}
	return nil
}

// Litestream's units: those of two letters and i are powers of 1024, all others
// of 1000.
var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "ki": 1 << 10, "kib": 1 << 10,
	"m": 1e6, "mb": 1e6, "mi": 1 << 20, "mib": 1 << 20,
	"g": 1e9, "gb": 1e9, "gi": 1 << 30, "gib": 1 << 30,
	"t": 1e12, "tb": 1e12, "ti": 1 << 40, "tib": 1 << 40,
}

// parseSize takes bytes, with a unit or without, as Litestream does in its
// configuration: 5242880, 5MiB, 16 MB, 1.5GiB.
func parseSize(s string) (int64, error) {
	wrong := fmt.Errorf("%s is not a size: write a number and KiB, MiB, GiB, KB, MB, GB or B, such as 5MiB", showValue(s))
	m := sizeRegex.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, wrong
	}
	unit, ok := sizeUnits[strings.ToLower(m[2])]
	n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
	if !ok || err != nil {
		return 0, wrong
	}
	if n *= unit; n < 1 || n >= math.MaxInt64 {
		return 0, fmt.Errorf("%s is not a size that can be", showValue(s))
	}
	return int64(n), nil
}

func checkPartSize(n int64) error {
	if n < minPartSize || n > maxPartSize {
		return fmt.Errorf("%d bytes is not between 5MiB and 5GiB, S3's bounds for a part", n)
	}
	return nil
}

func checkRegion(s string) error {
	if !regionRegex.MatchString(s) {
		return fmt.Errorf("%s is not a region, such as us-east-1", showValue(s))
	}
	return nil
}

// checkToken accepts what can stand in a header as it is.
func checkToken(s string) error {
	if !tokenRegex.MatchString(s) {
		return fmt.Errorf("%s holds a blank or another character that can't be in it", showValue(s))
	}
	return nil
}

// checkKeyID doesn't show the value: people confuse it with the secret.
func checkKeyID(s string) error {
	if !tokenRegex.MatchString(s) {
		return errors.New("a blank or another character is in it that can't be")
	}
	return nil
}

func checkSecret(s Secret) error { return checkKeyID(s.Reveal()) }

func checkPrintable(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s holds a character that can't be in it", showValue(s))
	}
	return nil
}

func checkARN(s string) error {
	if !arn.IsARN(s) || checkToken(s) != nil {
		return fmt.Errorf("%s is not an ARN, such as arn:aws:iam::123456789012:role/backup", showValue(s))
	}
	return nil
}

func checkSSEAlgorithm(s string) error {
	if s != sseAlgorithm {
		return fmt.Errorf("%s must be %s", showValue(s), sseAlgorithm)
	}
	return nil
}

func checkSSEKey(s Secret) error {
	_, err := decodeSSEKey(s)
	return err
}

func decodeSSEKey(s Secret) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(s.Reveal())
	switch {
	case err != nil && strings.Contains(s.Reveal(), " "):
		return nil, errors.New("it isn't base64, since a blank is in it: in a URL, write + as %2B")
	case err != nil:
		return nil, errors.New("it isn't base64: give 32 bytes in base64, with its padding")
	case len(key) != 32:
		return nil, fmt.Errorf("it holds %d bytes: give 32 bytes in base64", len(key))
	}
	return key, nil
}

// sseKeyMD5 is what S3 wants beside the key, to see that it came whole.
func sseKeyMD5(key []byte) string {
	sum := md5.Sum(key)
	return base64.StdEncoding.EncodeToString(sum[:])
}
