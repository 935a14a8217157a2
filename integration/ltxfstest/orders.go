package ltxfstest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// OrdersFile is a file of the sample replica, as files.tsv lists it.
type OrdersFile struct {
	Level   int
	Name    string
	Size    int64
	Commit  int // the database's size in pages
	ModTime time.Time
}

// Path is where a mount shows the file, relative to the mount point.
func (f OrdersFile) Path() string { return LevelPath(f.Level, f.Name) }

// StorePath is where Litestream's file layout keeps the file, relative to the
// replica's root.
func (f OrdersFile) StorePath() string { return StorePath(f.Level, f.Name) }

// ordersPath is a file of the sample's directory.
func ordersPath(names ...string) string {
	return filepath.Join(append([]string{rootDir, "integration", "testdata", "orders"}, names...)...)
}

// OrdersFiles lists the files of the sample replica, by level and name.
func OrdersFiles(t testing.TB) []OrdersFile {
	t.Helper()
	var files []OrdersFile
	for _, row := range readTable(t, "files.tsv", "\t")[1:] {
		modTime, err := time.Parse(time.RFC3339Nano, row[4])
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, OrdersFile{
			Level:   Atoi(t, row[0]),
			Name:    row[1],
			Size:    int64(Atoi(t, row[2])),
			Commit:  Atoi(t, row[3]),
			ModTime: modTime,
		})
	}
	return files
}

// RestoredState is what Litestream restores from the sample replica.
type RestoredState struct {
	TXID   string // 16 hex digits, or
	Time   string // RFC 3339, where TXID is ""
	SHA256 string // of the database file
}

// OrdersStates lists what Litestream restores by TXID and by time.
func OrdersStates(t testing.TB) (byTXID, byTime []RestoredState) {
	t.Helper()
	for _, row := range readTable(t, "restored.sha256.txt", " ") {
		byTXID = append(byTXID, RestoredState{TXID: row[0], SHA256: row[2]})
	}
	for _, row := range readTable(t, "restored-at.sha256.txt", " ") {
		byTime = append(byTime, RestoredState{Time: row[0], SHA256: row[1]})
	}
	return byTXID, byTime
}

// Orders copies the sample replica into a directory of the test, in Litestream's
// file layout and with the modification times that Litestream had set, which a
// checkout doesn't keep.
func Orders(t testing.TB) string {
	t.Helper()
	return OrdersIn(t, replica.LitestreamFile)
}

// OrdersIn is Orders in another layout.
func OrdersIn(t testing.TB, layout replica.Layout) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range OrdersFiles(t) {
		Store(t, filepath.Join(root, layout.LevelDir(f.Level), f.Name), OrdersData(t, f), f.ModTime)
	}
	return root
}

// OrdersData is the content of a file of the sample replica.
func OrdersData(t testing.TB, f OrdersFile) []byte {
	t.Helper()
	data, err := os.ReadFile(ordersPath("replica", f.StorePath()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readTable(t testing.TB, name, sep string) [][]string {
	t.Helper()
	data, err := os.ReadFile(ordersPath(name))
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(data)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), sep))
	}
	return rows
}

// Atoi is a number.
func Atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
