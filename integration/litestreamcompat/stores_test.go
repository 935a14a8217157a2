package litestreamcompat

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/benbjohnson/litestream"
	lsfile "github.com/benbjohnson/litestream/file"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// store is a place for a replica, with a client of ltxfs and a way for
// Litestream to look at the same files without it.
type store struct {
	// client returns a new client of ltxfs, as one that starts has it.
	client func(t testing.TB) litestream.ReplicaClient

	// put stores a file without a client of ltxfs, if there is a way.
	put func(t testing.TB, f ltxFile)

	// theirs returns one of Litestream's clients of what the store holds now.
	theirs func(t testing.TB) litestream.ReplicaClient
}

// fill puts the files into the store.
func (s *store) fill(t testing.TB, files []ltxFile) {
	t.Helper()
	for _, f := range files {
		s.put(t, f)
	}
}

// kind is a kind of store.
type kind struct {
	name string
	open func(t testing.TB) *store

	// uploadTimes is whether lists have the times of uploads.
	uploadTimes bool

	// slow stores get a few samples where others get all.
	slow bool
}

func kinds() []kind {
	var all []kind
	for _, layout := range replica.Layouts {
		all = append(all, kind{name: "file in layout " + layout.Name, open: func(t testing.TB) *store { return openFile(t, layout) }})
	}
	all = append(all,
		kind{name: "mock", open: func(t testing.TB) *store {
			m := mock.New()
			return openMock(m, mock.NewReplicaClient(m))
		}},
		// One that lists the times of uploads and can't do more than it must.
		kind{name: "bare mock", uploadTimes: true, open: func(t testing.TB) *store {
			m := mock.New()
			m.ListUploadTimes(true)
			return openMock(m, bare{replica.ClientOf(replica.StoreOf(replica.ClientOf(m)))})
		}},
	)
	for _, server := range s3test.Servers {
		for _, layout := range replica.Layouts {
			all = append(all, kind{
				name: server.Name + " in layout " + layout.Name, uploadTimes: true, slow: true,
				open: func(t testing.TB) *store { return openS3(t, server, layout) },
			})
		}
	}
	return all
}

// forEachKind runs a test on a new store of each kind, at the same time.
func forEachKind(t *testing.T, test func(t *testing.T, k kind, s *store)) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k, k.open(t))
		})
	}
}

// openFile is a store on disk. Litestream knows one of the layouts; for the
// others it gets a directory of links to the levels.
func openFile(t testing.TB, layout replica.Layout) *store {
	root := t.TempDir()
	links := root
	if layout != replica.LitestreamFile {
		links = t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(links, "ltx"), 0o755))
		for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
			link := filepath.Join(links, "ltx", strconv.Itoa(level))
			require.NoError(t, os.Symlink(filepath.Join(root, layout.LevelDir(level)), link))
		}
	}
	return &store{
		client: func(testing.TB) litestream.ReplicaClient { return file.NewReplicaClient(file.New(root, layout)) },
		put: func(t testing.TB, f ltxFile) {
			path := filepath.Join(root, layout.LevelDir(f.level), f.name())
			ltxfstest.Store(t, path, f.data, ltxfstest.HeaderTime(t, f.data))
		},
		theirs: func(testing.TB) litestream.ReplicaClient { return lsfile.NewReplicaClient(links) },
	}
}

// bare is a client that can't do more than it must.
type bare struct{ replica.Client }

func (bare) Init(context.Context) error { return nil }

func (bare) SetLogger(*slog.Logger) {}

// openMock is a store in memory, with c as its client. Litestream gets a copy of
// what it holds.
func openMock(m *mock.Store, c litestream.ReplicaClient) *store {
	return &store{
		client: func(testing.TB) litestream.ReplicaClient { return c },
		put:    func(_ testing.TB, f ltxFile) { m.Put(f.level, f.min, f.max, f.data) },
		theirs: func(t testing.TB) litestream.ReplicaClient {
			var files []ltxFile
			for _, info := range list(t, c, false) {
				data, ok := m.Bytes(info.Level, info.MinTXID, info.MaxTXID)
				require.True(t, ok)
				files = append(files, ltxFile{info.Level, info.MinTXID, info.MaxTXID, data})
			}
			require.Len(t, files, m.Len())
			return litestreamReplica(t, files)
		},
	}
}

// list returns all files of all levels, in the order of the client.
func list(t testing.TB, c litestream.ReplicaClient, useMetadata bool) []ltx.FileInfo {
	t.Helper()
	var all []ltx.FileInfo
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		all = append(all, listLevel(t, c, level, 0, useMetadata)...)
	}
	return all
}

func listLevel(t testing.TB, c litestream.ReplicaClient, level int, seek ltx.TXID, useMetadata bool) []ltx.FileInfo {
	t.Helper()
	it, err := c.LTXFiles(testContext(t), level, seek, useMetadata)
	require.NoError(t, err)
	// Litestream keeps the pointers while it goes on.
	infos, err := ltx.SliceFileIterator(it)
	require.NoError(t, err)
	list := make([]ltx.FileInfo, len(infos))
	for i, info := range infos {
		list[i] = *info
	}
	return list
}

// content is a file's bytes as a client reads them.
func content(t testing.TB, c litestream.ReplicaClient, info ltx.FileInfo) []byte {
	t.Helper()
	rc, err := c.OpenLTXFile(testContext(t), info.Level, info.MinTXID, info.MaxTXID, 0, 0)
	require.NoError(t, err)
	data, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	return data
}

// contents are the SHA-256 of all files, by level and name.
func contents(t testing.TB, c litestream.ReplicaClient) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, info := range list(t, c, false) {
		name := filepath.Join(strconv.Itoa(info.Level), ltx.FormatFilename(info.MinTXID, info.MaxTXID))
		all[name] = ltxfstest.SHA256(content(t, c, info))
	}
	return all
}
