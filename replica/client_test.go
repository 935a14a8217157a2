package replica_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

func TestFile(t *testing.T) {
	f := replica.File{
		Level: 2, MinTXID: 3, MaxTXID: 0xab, Size: 7, ModTime: time.UnixMilli(5), Version: "v",
	}
	assert.Equal(t, "0000000000000003-00000000000000ab.ltx", f.Name())
	assert.Equal(t, &ltx.FileInfo{Level: 2, MinTXID: 3, MaxTXID: 0xab, Size: 7, CreatedAt: time.UnixMilli(5)}, f.Info())
}

// Open reads the version if the client can, and the name if it can't.
func TestOpen(t *testing.T) {
	c := mock.New()
	old := c.Put(0, 1, 1, []byte("old content"))
	c.Put(0, 1, 1, []byte("new content"))
	noVersion := old
	noVersion.Version = ""
	for _, tt := range []struct {
		name    string
		client  replica.Client
		file    replica.File
		want    string
		wantErr error
	}{
		{"version of a client that can", c, old, "", replica.ErrReplaced},
		{"no version", c, noVersion, "new", nil},
		{"version of a client that can't", c.Limit(mock.Stat), old, "new", nil},
		{"no version of a client that can't", c.Limit(0), noVersion, "new", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := replica.Open(t.Context(), tt.client, tt.file, 0, 3)
			if tt.wantErr != nil {
				require.ErrorIs(t, err, tt.wantErr)
				return
			}
			require.NoError(t, err)
			defer r.Close()
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
		})
	}
}

// Write returns the version if the client can, and all the rest if it can't.
func TestWrite(t *testing.T) {
	c := mock.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.SetClock(func() time.Time { return now })
	want := replica.File{Level: 4, MinTXID: 1, MaxTXID: 2, Size: 3, ModTime: now}

	f, err := replica.Write(t.Context(), c, 4, 1, 2, bytes.NewReader([]byte("abc")))
	require.NoError(t, err)
	assert.NotEmpty(t, f.Version)
	f.Version = ""
	assert.Equal(t, want, f)

	f, err = replica.Write(t.Context(), c.Limit(0), 4, 1, 2, bytes.NewReader([]byte("abc")))
	require.NoError(t, err)
	assert.Equal(t, want, f)

	broken := errors.New("broken")
	c.Fail(mock.OpWrite, broken)
	for _, client := range []replica.Client{c, c.Limit(0)} {
		f, err = replica.Write(t.Context(), client, 4, 1, 2, bytes.NewReader(nil))
		require.ErrorIs(t, err, broken)
		assert.Equal(t, replica.File{}, f)
	}
}

// WriteExclusive replaces nothing if the client can tell, and does what Write
// does if it can't.
func TestWriteExclusive(t *testing.T) {
	c := mock.New()
	for i, client := range []replica.Client{c, c.Limit(mock.WriteExclusive)} {
		txid := ltx.TXID(i + 1)
		f, err := replica.WriteExclusive(t.Context(), client, 4, txid, txid, bytes.NewReader([]byte("abc")))
		require.NoError(t, err)
		assert.NotEmpty(t, f.Version)
		f, err = replica.WriteExclusive(t.Context(), client, 4, txid, txid, bytes.NewReader([]byte("def")))
		require.ErrorIs(t, err, os.ErrExist)
		assert.Equal(t, replica.File{}, f)
		got, _ := c.Bytes(4, txid, txid)
		assert.Equal(t, "abc", string(got))
	}
	_, err := replica.WriteExclusive(t.Context(), c.Limit(mock.WriteVersion), 4, 1, 1, bytes.NewReader([]byte("ghi")))
	require.NoError(t, err)
	got, _ := c.Bytes(4, 1, 1)
	assert.Equal(t, "ghi", string(got))
}
