package s3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// The check values of the algorithms' own definitions, in S3's form.
func TestSumsKnownValues(t *testing.T) {
	s := serve(t, nil)
	c := s.store(t, func(c *config.Config) { c.PutObjectContentMD5 = true })
	sums := c.newBodySums()
	require.NoError(t, sum(strings.NewReader("123456789"), 0, 9, sums))
	require.Equal(t, int64(9), sums.size)
	require.Equal(t, "rosUhgp5mIg=", sums.CRC64NVME())
	require.Equal(t, "JfnnlDI7RTiF9RgfG2JNCw==", *sums.MD5())

	sums = newSums()
	require.NoError(t, sum(strings.NewReader("123456789"), 0, 9, sums))
	require.Equal(t, "rosUhgp5mIg=", sums.CRC64NVME())
	require.Equal(t, "4waSgw==", sums.CRC32C())
	require.Nil(t, sums.MD5())
}

// A body is hashed for the signature where the SDK would do so.
func TestSumsOfBody(t *testing.T) {
	s := serve(t, nil)
	for _, tt := range []struct {
		change func(*config.Config)
		hashed bool
	}{
		{func(*config.Config) {}, true},
		{func(c *config.Config) { c.SignPayload = new(false) }, false},
		{func(c *config.Config) { c.Endpoint = "https://store.example" }, false},
	} {
		sums := s.store(t, tt.change).newBodySums()
		require.NoError(t, sum(strings.NewReader("abc"), 0, 3, sums))
		require.Equal(t, tt.hashed, sums.sha256 != nil)
		var o awss3.Options
		sums.signed(&o)
		require.Equal(t, tt.hashed, len(o.APIOptions) == 1)
		if tt.hashed {
			digest := sha256.Sum256([]byte("abc"))
			require.Equal(t, hex.EncodeToString(digest[:]), hex.EncodeToString(sums.sha256.Sum(nil)))
		}
	}
}

func TestSumReadError(t *testing.T) {
	for _, want := range []error{errors.New("the disk is gone"), io.ErrUnexpectedEOF} {
		err := sum(failingAt{bytes.NewReader([]byte("abc")), want}, 0, 4, newSums())
		require.ErrorIs(t, err, want)
	}
}

// Only a checksum of the whole object is one that can be compared.
func TestSumsOfStore(t *testing.T) {
	sums := newSums()
	require.NoError(t, sum(strings.NewReader("123456789"), 0, 9, sums))
	right64, right32, wrong := aws.String("rosUhgp5mIg="), aws.String("4waSgw=="), aws.String("AAAAAAAAAAA=")
	for _, tt := range []struct {
		name        string
		out         awss3.HeadObjectOutput
		same, known bool
	}{
		{"none", awss3.HeadObjectOutput{}, false, false},
		{"empty", awss3.HeadObjectOutput{ChecksumCRC64NVME: aws.String("")}, false, false},
		{"CRC-64", awss3.HeadObjectOutput{ChecksumCRC64NVME: right64}, true, true},
		{"CRC-64 of the whole", awss3.HeadObjectOutput{ChecksumCRC64NVME: right64, ChecksumType: types.ChecksumTypeFullObject}, true, true},
		{"another CRC-64", awss3.HeadObjectOutput{ChecksumCRC64NVME: wrong}, false, true},
		{"CRC-32C", awss3.HeadObjectOutput{ChecksumCRC32C: right32}, true, true},
		{"another CRC-32C", awss3.HeadObjectOutput{ChecksumCRC32C: wrong}, false, true},
		{"CRC-32C of parts", awss3.HeadObjectOutput{ChecksumCRC32C: right32, ChecksumType: types.ChecksumTypeComposite}, false, false},
		{"CRC-32C of two parts", awss3.HeadObjectOutput{ChecksumCRC32C: aws.String(*right32 + "-2")}, false, false},
		{"one that isn't computed", awss3.HeadObjectOutput{ChecksumSHA256: wrong, ChecksumCRC32: wrong}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same, known := sums.ofStore(&tt.out)
			require.Equal(t, tt.same, same)
			require.Equal(t, tt.known, known)
		})
	}
}
