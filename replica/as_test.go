package replica_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// localToo is a decorator that lets everything through.
type localToo struct{ replica.Around }

func (l localToo) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	c, err := replica.Inner[replica.LocalOpener](l.Client)
	if err != nil {
		return nil, err
	}
	return c.OpenLocal(ctx, f)
}

// As says what a client can do, however many are around it.
func TestAs(t *testing.T) {
	m, disk := mock.New(), file.New(t.TempDir(), replica.LitestreamFile)
	around := func(c replica.Client) replica.Client { return replica.Around{Client: c} }
	local := func(c replica.Client) replica.Client { return localToo{replica.Around{Client: c}} }
	for _, tt := range []struct {
		name                                 string
		client                               replica.Client
		stat, exact, version, space, isLocal bool
	}{
		{"mock", m, true, false, true, false, false},
		{"file", disk, true, false, true, true, true},
		{"mock without extras", m.Limit(0), false, false, false, false, false},
		{"around mock", around(m), true, false, true, false, false},
		{"around mock without extras", around(m.Limit(0)), false, false, false, false, false},
		{"around one that can stat", around(around(m.Limit(mock.Stat))), true, false, false, false, false},
		{"around file", around(disk), true, false, true, true, false},
		{"all let local files through", local(local(disk)), true, false, true, true, true},
		{"the outer one doesn't", around(local(disk)), true, false, true, true, false},
		{"the inner one doesn't", local(around(disk)), true, false, true, true, false},
		{"there are none", local(m), true, false, true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stater, ok := replica.As[replica.Stater](tt.client)
			assert.Equal(t, tt.stat, ok)
			assert.Equal(t, tt.stat, stater != nil)
			_, ok = replica.As[replica.ExactStater](tt.client)
			assert.Equal(t, tt.exact, ok)
			_, ok = replica.As[replica.VersionOpener](tt.client)
			assert.Equal(t, tt.version, ok)
			_, ok = replica.As[replica.VersionWriter](tt.client)
			assert.Equal(t, tt.version, ok)
			_, ok = replica.As[replica.ExclusiveWriter](tt.client)
			assert.Equal(t, tt.version, ok)
			_, ok = replica.As[replica.Spacer](tt.client)
			assert.Equal(t, tt.space, ok)
			_, ok = replica.As[replica.LocalOpener](tt.client)
			assert.Equal(t, tt.isLocal, ok)
		})
	}
}

// Who doesn't ask As first gets an error, and no panic.
func TestAroundWhatCannot(t *testing.T) {
	for _, d := range decorators {
		t.Run(d.name, func(t *testing.T) {
			c := d.wrap(mock.New().Limit(0))
			ctx, f := t.Context(), replica.File{Level: 2, MinTXID: 1, MaxTXID: 3, Version: "v"}
			var errs []error
			add := func(err error) { errs = append(errs, err) }
			_, err := c.(replica.Stater).StatLTXFile(ctx, 2, 1, 3)
			add(err)
			_, err = c.(replica.ExactStater).StatLTXFileExact(ctx, 2, 1, 3)
			add(err)
			_, err = c.(replica.VersionOpener).OpenLTXFileVersion(ctx, f, 0, 0)
			add(err)
			_, err = c.(replica.VersionWriter).WriteLTXFileVersion(ctx, 2, 1, 3, bytes.NewReader(nil))
			add(err)
			_, err = c.(replica.ExclusiveWriter).WriteLTXFileExclusive(ctx, 2, 1, 3, bytes.NewReader(nil))
			add(err)
			if local, ok := c.(replica.LocalOpener); ok {
				_, err = local.OpenLocal(ctx, f)
				add(err)
			}
			for _, err := range errs {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				require.ErrorContains(t, err, f.Name())
			}
			_, err = c.(replica.Spacer).Space(ctx)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			require.ErrorContains(t, err, "a replica of type mock is no replica.Spacer")
		})
	}
}

// The limits that are none leave the client as it is, passthrough included; one
// on reading takes that away, since the kernel heeds no limit.
func TestDecoratorsAndLocalFiles(t *testing.T) {
	disk := file.New(t.TempDir(), replica.LitestreamFile)
	for _, d := range decorators {
		_, ok := replica.As[replica.LocalOpener](d.wrap(disk))
		assert.Equal(t, d.name != "around" && d.name != "bandwidth" && d.name != "all", ok, d.name)
	}
}

// A reader around a reader is still what clients look for.
func TestAroundReader(t *testing.T) {
	const content = "0123456789"
	var reads int
	short := func(p []byte, read func([]byte) (int, error)) (int, error) {
		reads++
		return read(p[:min(len(p), 3)])
	}
	section := io.NewSectionReader(bytes.NewReader([]byte("x"+content)), 1, int64(len(content)))
	for name, r := range map[string]io.Reader{
		"plain":   struct{ io.Reader }{section},
		"seeker":  struct{ io.ReadSeeker }{section},
		"section": section,
		"no size": struct {
			io.ReadSeeker
			io.ReaderAt
		}{section, section},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := section.Seek(0, io.SeekStart)
			require.NoError(t, err)
			a := replica.AroundReader(r, short)
			got, err := io.ReadAll(a)
			require.NoError(t, err)
			assert.Equal(t, content, string(got))

			seeker, ok := a.(io.Seeker)
			assert.Equal(t, name != "plain", ok)
			if ok {
				_, err = seeker.Seek(8, io.SeekStart)
				require.NoError(t, err)
				got, err = io.ReadAll(a)
				require.NoError(t, err)
				assert.Equal(t, "89", string(got))
			}
			at, ok := a.(io.ReaderAt)
			assert.Equal(t, name == "section" || name == "no size", ok)
			if ok {
				_, err = seeker.Seek(0, io.SeekStart)
				require.NoError(t, err)
				require.NoError(t, iotest.TestReader(a, []byte(content)))
				reads = 0
				p := make([]byte, 7)
				n, err := at.ReadAt(p, 2)
				require.NoError(t, err)
				assert.Equal(t, "2345678", string(p[:n]))
				n, err = at.ReadAt(p, 6)
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, "6789", string(p[:n]))
				assert.Equal(t, 3+2, reads, "not every read went through")
			}
			sized, ok := a.(interface{ Size() int64 })
			assert.Equal(t, name == "section", ok)
			if ok {
				assert.Equal(t, int64(len(content)), sized.Size())
			}
		})
	}
}
