package config

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds that S3 sets to the parts of an upload, but for its last.
const (
	MinPartSize = 5 << 20
	maxPartSize = 5 << 30
)

const sseAlgorithm = "AES256"

var (
	regionRegex = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	tokenRegex  = regexp.MustCompile(`^[!-~]+$`)
)

// showValue is a value in an error: quoted, and not at any length.
func showValue(value string) string {
	if utf8.RuneCountInString(value) > 64 {
		value = string([]rune(value)[:64]) + "…"
	}
	return strconv.Quote(value)
}

// parseBool takes what Litestream takes. What it doesn't know is false for
// Litestream, and an error here.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "t", "yes":
		return true, nil
	case "false", "0", "f", "no":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", showValue(s))
}

func parseInt(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s is not a positive whole number", showValue(s))
	}
	return int(n), nil
}

func between(least, most int) func(string) error {
	return func(s string) error {
		if n, err := strconv.Atoi(s); err != nil || n < least || n > most {
			return fmt.Errorf("%s is not between %d and %d", s, least, most)
		}
		return nil
	}
}

func checkPartSize(s string) error {
	if between(MinPartSize, maxPartSize)(s) != nil {
		return fmt.Errorf("%s bytes is not between 5MiB and 5GiB, S3's bounds for a part", s)
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

// checkKey shows no value, not even an access key's ID: people confuse it with the
// secret.
func checkKey(s string) error {
	if !tokenRegex.MatchString(s) {
		return errors.New("a blank or another character is in it that can't be")
	}
	return nil
}

func checkPrintable(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s holds a character that can't be in it", showValue(s))
	}
	return nil
}

func checkARN(s string) error {
	if _, _, ok := parseARN(s); !ok || checkToken(s) != nil {
		return fmt.Errorf("%s is not an ARN, such as arn:aws:iam::123456789012:role/backup", showValue(s))
	}
	return nil
}

// parseARN returns two of the six parts of an ARN.
func parseARN(s string) (region, resource string, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return "", "", false
	}
	return parts[3], parts[5], true
}

func checkSSEAlgorithm(s string) error {
	if s != sseAlgorithm {
		return fmt.Errorf("%s must be %s", showValue(s), sseAlgorithm)
	}
	return nil
}

func checkSSEKey(s string) error {
	_, err := sseKeyMD5(s)
	return err
}

// sseKeyMD5 checks a key of SSE-C and returns what S3 wants beside it, to see that
// it came whole.
func sseKeyMD5(s string) (string, error) {
	key, err := base64.StdEncoding.DecodeString(s)
	switch {
	case err != nil && strings.Contains(s, " "):
		return "", errors.New("it isn't base64, since a blank is in it: in a URL, write + as %2B")
	case err != nil:
		return "", errors.New("it isn't base64: give 32 bytes in base64, with its padding")
	case len(key) != 32:
		return "", fmt.Errorf("it holds %d bytes: give 32 bytes in base64", len(key))
	}
	sum := md5.Sum(key)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}
