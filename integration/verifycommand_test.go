package integration

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A sound replica is found sound by each stage.
func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	v := verify(t, ltxfstest.ExitOK, root, "--check=full", "--states=all")
	require.Empty(t, v.findings)
	require.Equal(t, "sound", v.Result)
	stages := map[string]int{}
	for _, s := range v.Stages {
		require.Equal(t, s.Of, s.Done, s)
		require.Zero(t, s.Findings, s)
		stages[s.Stage] = s.Of
	}
	require.Equal(t, map[string]int{"names": 40, "headers": 40, "indexes": 40, "bytes": 40, "databases": 24}, stages)
	require.Equal(t, 24, v.States)
	require.Equal(t, "0000000000000018", v.Newest.TXID)
	require.Equal(t, v.Newest, v.Proven)
}

// verdict is what ltxfs verify has shown.
type verdict struct {
	findings []verifyFinding
	Result   string
	Open     string
	Stages   []struct {
		Stage              string
		Done, Of, Findings int
		Bytes              int64
	}
	States         int
	Lost, Movable  []verifyRange
	Newest, Proven *struct{ TXID string }
}

type verifyFinding struct {
	Code, Severity, Stage, File, Detail, Meaning, Advice string
	Lost, Doubtful                                       []verifyRange
}

type verifyRange struct {
	Min ltxTXID `json:"min_txid"`
	Max ltxTXID `json:"max_txid"`
}

type ltxTXID ltx.TXID

func (x *ltxTXID) UnmarshalText(b []byte) error {
	v, err := ltx.ParseTXID(string(b))
	*x = ltxTXID(v)
	return err
}

func has(ranges []verifyRange, txid ltx.TXID) bool {
	return slices.ContainsFunc(ranges, func(r verifyRange) bool { return ltx.TXID(r.Min) <= txid && txid <= ltx.TXID(r.Max) })
}

// verify runs ltxfs verify --json.
func verify(t testing.TB, code int, args ...string) (v verdict) {
	t.Helper()
	r := ltxfstest.Ltxfs(t, append([]string{"verify", "--json"}, args...)...)
	require.Equal(t, code, r.Code, r)
	lines := ltxfstest.Lines(r.Stdout)
	for _, line := range lines[:len(lines)-1] {
		var f verifyFinding
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		v.findings = append(v.findings, f)
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &v), r)
	return v
}

// sample is a copy of the sample replica, to be damaged.
type sample struct {
	t    testing.TB
	root string
}

func name(level int, minTXID, maxTXID ltx.TXID) replica.Name {
	return replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
}

func (s *sample) path(n replica.Name) string {
	return filepath.Join(s.root, ltxfstest.StorePath(n.Level, n.Base()))
}

func (s *sample) read(n replica.Name) []byte {
	data, err := os.ReadFile(s.path(n))
	require.NoError(s.t, err)
	return data
}

func (s *sample) write(n replica.Name, data []byte) {
	require.NoError(s.t, os.MkdirAll(filepath.Dir(s.path(n)), 0o755))
	require.NoError(s.t, os.WriteFile(s.path(n), data, 0o644))
}

func (s *sample) remove(names ...replica.Name) {
	for _, n := range names {
		require.NoError(s.t, os.Remove(s.path(n)))
	}
}

// flip changes a byte of a file; before its end, if at is less than 0.
func flip(n replica.Name, at int) func(*sample) {
	return func(s *sample) {
		data := s.read(n)
		if at < 0 {
			at += len(data)
		}
		data[at] ^= 0x11
		s.write(n, data)
	}
}

// cut cuts a file where a function says.
func cut(n replica.Name, at func(data []byte, f *storetest.Forged) int) func(*sample) {
	return func(s *sample) {
		data := s.read(n)
		f := storetest.Take(s.t, data)
		f.Bytes() // which sets offsets
		s.write(n, data[:at(data, f)])
	}
}

// pagesEnd is where the pages of a file end.
func pagesEnd(f *storetest.Forged) int {
	f.Bytes()
	last := f.Frames[len(f.Frames)-1]
	return int(last.Offset) + len(last.Frame)
}

// flipIn is flip where a function says.
func flipIn(n replica.Name, at func(f *storetest.Forged) int) func(*sample) {
	return func(s *sample) { flip(n, at(storetest.Take(s.t, s.read(n))))(s) }
}

// lockPage is a frame of SQLite's lock page.
func lockPage(f *storetest.Forged) storetest.ForgedFrame {
	fr := f.Frames[0]
	fr.Pgno, fr.Frame = f.Header.LockPgno(), bytes.Clone(fr.Frame)
	binary.BigEndian.PutUint32(fr.Frame, fr.Pgno)
	return fr
}

// forge changes a file and makes it whole again.
func forge(n replica.Name, change func(f *storetest.Forged)) func(*sample) {
	return func(s *sample) {
		f := storetest.Take(s.t, s.read(n))
		change(f)
		s.write(n, f.Bytes())
	}
}

// Of damaged replicas, verify says what is wrong, and exactly which states Litestream can't
// restore any more.
func TestVerifyCommandDamaged(t *testing.T) {
	t.Parallel()
	var (
		zero     = name(0, 0x18, 0x18) // states 0x18 needs level 1 instead
		one      = name(1, 0x17, 0x18)
		two      = name(2, 7, 0xe)
		snapshot = name(9, 1, 0x13)
		old      = name(9, 1, 9)
	)
	remove := func(names ...replica.Name) func(*sample) { return func(s *sample) { s.remove(names...) } }
	then := func(all ...func(*sample)) func(*sample) {
		return func(s *sample) {
			for _, f := range all {
				f(s)
			}
		}
	}
	const frame = ltx.HeaderSize
	cases := []struct {
		what   string
		damage func(s *sample)
		codes  string // of the findings, sorted
		lost   string // of all of them
	}{
		{"a header's magic", flip(one, 0), "header", "18"},
		{"a header's flags", flip(one, 4), "header", "18"},
		{"a header's page size", flip(one, 10), "header", "18"},
		{"a header's commit", flip(one, 15), "pages", "18"},
		{"a header's TXID", flip(one, 22), "header", "18"},
		{"a header's time", flip(one, 38), "checksum", "18"},
		{"a header's time, by ages", flip(one, 32), "checksum", "18"},
		{"a header's checksum", flip(one, 45), "header", "18"},
		{"a snapshot's header", flip(snapshot, 1), "header", "13-18"},
		{"a page number", flip(two, frame+3), "pages", "e-12"},
		{"a frame's flags", flip(two, frame+5), "pages", "e-12"},
		{"a frame's size", flip(two, frame+8), "pages", "e-12"},
		{"a frame's size, huge", flip(snapshot, frame+6), "pages", "13-18"},
		{"a frame", flip(snapshot, frame+40), "checksum", "13-18"},
		{"what ends the pages", flipIn(one, func(f *storetest.Forged) int { return pagesEnd(f) + 2 }), "pages", "18"},
		{"an index", flipIn(one, func(f *storetest.Forged) int { return pagesEnd(f) + ltx.PageHeaderSize + 1 }), "page-index", "18"},
		{"an index's size", flip(one, -17), "page-index", "18"},
		{"a trailer's checksum of the database", flip(one, -12), "checksum", "18"},
		{"a trailer's checksum", flip(snapshot, -1), "checksum", "13-18"},

		{"an empty file", cut(one, func([]byte, *storetest.Forged) int { return 0 }), "empty", "18"},
		{"an empty snapshot", cut(snapshot, func([]byte, *storetest.Forged) int { return 0 }), "empty", "13-18"},
		{"cut in the header", cut(one, func([]byte, *storetest.Forged) int { return 50 }), "truncated", "18"},
		{"cut after the header", cut(one, func([]byte, *storetest.Forged) int { return ltx.HeaderSize }), "truncated", "18"},
		{"cut in the first frame", cut(snapshot, func(_ []byte, f *storetest.Forged) int { return frame + len(f.Frames[0].Frame)/2 }), "", "13-18"},
		{"cut after the first frame", cut(snapshot, func(_ []byte, f *storetest.Forged) int { return int(f.Frames[1].Offset) }), "", "13-18"},
		{"cut after the pages", cut(one, func(_ []byte, f *storetest.Forged) int { return pagesEnd(f) + ltx.PageHeaderSize }), "", "18"},
		{"cut in the index", cut(one, func(_ []byte, f *storetest.Forged) int { return pagesEnd(f) + ltx.PageHeaderSize + 2 }), "", "18"},
		{"cut before the trailer", cut(one, func(data []byte, _ *storetest.Forged) int { return len(data) - ltx.TrailerSize }), "", "18"},
		{"cut by a byte", cut(snapshot, func(data []byte, _ *storetest.Forged) int { return len(data) - 1 }), "", "13-18"},
		{"a byte more", func(s *sample) { s.write(one, append(s.read(one), 0)) }, "", "18"},
		{"twice", func(s *sample) { s.write(one, append(s.read(one), s.read(one)...)) }, "", "18"},

		{"a snapshot without its last page", forge(snapshot, func(f *storetest.Forged) { f.Frames = f.Frames[:len(f.Frames)-1] }), "snapshot-pages", "13"},
		{"a snapshot without its first page, which all others have", forge(snapshot, func(f *storetest.Forged) { f.Frames = f.Frames[1:] }), "snapshot-pages", "13"},
		{"a snapshot without a page, its checksum as it was", func(s *sample) {
			data := s.read(snapshot)
			f := storetest.Take(t, data)
			f.Frames = f.Frames[1:]
			s.write(snapshot, append(f.Bytes()[:len(f.Bytes())-8], data[len(data)-8:]...))
		}, "checksum", "13-18"},
		{"a snapshot without a page, its index as it was", func(s *sample) {
			data := s.read(snapshot)
			f := storetest.Take(t, data)
			s.write(snapshot, slices.Delete(data, frame, frame+len(f.Frames[0].Frame)))
		}, "checksum", "13-18"},
		{"two snapshots without pages", func(s *sample) {
			forge(snapshot, func(f *storetest.Forged) { f.Frames = f.Frames[:3] })(s)
			forge(old, func(f *storetest.Forged) { f.Frames = f.Frames[1:] })(s)
		}, "snapshot-pages,snapshot-pages", "9,13-15"},
		{"a damaged snapshot, and a damaged file after it", func(s *sample) { flip(snapshot, 500)(s); flip(name(2, 0xf, 0x16), 500)(s) }, "checksum,checksum", "13-18"},
		{"a damaged file before a gap", func(s *sample) {
			flip(name(2, 0xf, 0x16), 500)(s)
			s.remove(name(0, 0x17, 0x17), one)
		}, "checksum,gap", "16-18"},
		{"a snapshot without pages", forge(snapshot, func(f *storetest.Forged) { f.Frames = nil }), "snapshot-pages", "13-15"},
		{"a database that grows without its pages", then(remove(one), forge(name(0, 0x17, 0x17), func(f *storetest.Forged) { f.Header.Commit += 3 })), "missing-pages", "17"},
		{"a file without a page that those that it was made of have", forge(one, func(f *storetest.Forged) { f.Frames = f.Frames[1:] }), "conflict", ""},
		{"a file without a page that what was made of it has", forge(name(0, 0xf, 0xf), func(f *storetest.Forged) {
			f.Frames = slices.DeleteFunc(f.Frames, func(fr storetest.ForgedFrame) bool { return fr.Pgno == 4 })
		}), "conflict", ""},
		{"a file from the first transaction on without pages, after a snapshot", forge(name(2, 1, 6), func(f *storetest.Forged) { f.Frames = nil }), "snapshot-pages", "6"},
		{"a database without pages", then(remove(one), forge(zero, func(f *storetest.Forged) { f.Header.Commit, f.Frames = 0, nil })), "header", "18"},
		{"a database without pages before others", then(remove(one), forge(name(0, 0x17, 0x17), func(f *storetest.Forged) { f.Header.Commit, f.Frames = 0, nil })), "header", "17"},

		{"an index that points into another frame", forge(one, func(f *storetest.Forged) {
			f.Index = func(frames []storetest.ForgedFrame) []byte {
				wrong := slices.Clone(frames)
				wrong[1].Offset = wrong[0].Offset + 3
				return storetest.ForgedIndex(wrong)
			}
		}), "page-index", ""},
		{"an index of other pages, with another name", func(s *sample) {
			s.remove(one)
			f := storetest.Take(s.t, s.read(name(0, 0x17, 0x17)))
			f.Index = func(frames []storetest.ForgedFrame) []byte { return storetest.ForgedIndex(frames[1:]) }
			s.write(zero, f.Bytes())
		}, "name,page-index", "18"},
		{"an index of other pages", forge(snapshot, func(f *storetest.Forged) {
			f.Index = func(frames []storetest.ForgedFrame) []byte { return storetest.ForgedIndex(frames[1:]) }
		}), "page-index", ""},
		{"an index that is cut", forge(one, func(f *storetest.Forged) {
			f.Index = func(frames []storetest.ForgedFrame) []byte { return storetest.ForgedIndex(frames)[:3] }
		}), "page-index", "18"},
		{"an index with more behind it", forge(one, func(f *storetest.Forged) {
			f.Index = func(frames []storetest.ForgedFrame) []byte { return append(storetest.ForgedIndex(frames), 0, 0) }
		}), "page-index", "18"},
		{"a checksum of the database where there is none", forge(one, func(f *storetest.Forged) { f.Trailer.PostApplyChecksum = ltx.ChecksumFlag | 1 }), "trailer", "18"},
		{"the same in a file that others follow", forge(two, func(f *storetest.Forged) { f.Trailer.PostApplyChecksum = ltx.ChecksumFlag | 1 }), "trailer", "e"},
		{"the lock page", forge(one, func(f *storetest.Forged) { f.Header.Commit = 1 << 20; f.Frames = append(f.Frames, lockPage(f)) }), "pages", "18"},
		{"pages in another order", forge(one, func(f *storetest.Forged) { slices.Reverse(f.Frames) }), "pages", "18"},
		{"a page beyond the end", forge(one, func(f *storetest.Forged) {
			fr := f.Frames[0]
			fr.Pgno, fr.Frame = 200, bytes.Clone(fr.Frame)
			binary.BigEndian.PutUint32(fr.Frame, 200)
			f.Frames = append(f.Frames, fr)
		}), "pages", ""},

		{"a file with the name of the next", func(s *sample) { s.remove(one); s.write(zero, s.read(name(0, 0x17, 0x17))) }, "name", "18"},
		{"files that have changed names", func(s *sample) {
			s.remove(one)
			a, b := s.read(name(0, 0x17, 0x17)), s.read(zero)
			s.write(zero, a)
			s.write(name(0, 0x17, 0x17), b)
		}, "name,name", "17-18"},
		{"a snapshot with the name of a later state", func(s *sample) { s.write(snapshot, s.read(old)) }, "name", "14-18"},
		{"a level's file as another's", func(s *sample) { s.write(name(3, 0xf, 0x16), s.read(name(1, 0x14, 0x16))) }, "name", ""},
		{"a file in two levels with other content", func(s *sample) {
			f := storetest.Take(s.t, s.read(zero))
			f.Frames = f.Frames[1:]
			s.write(name(3, 0x18, 0x18), f.Bytes())
		}, "conflict", ""},
		{"a page of another size", forge(one, func(f *storetest.Forged) {
			f.Header.PageSize, f.Frames = 8192, nil
		}), "conflict,page-size", "18"},

		{"a hole in level 0 that level 1 covers", remove(name(0, 5, 5), name(0, 6, 6)), "", ""},
		{"a hole in level 1 that level 0 covers", remove(one), "", ""},
		{"a hole in level 2 that level 1 covers", remove(name(2, 0xf, 0x16)), "", ""},
		{"no snapshot, but all transactions", remove(snapshot, old, name(9, 1, 1)), "", ""},
		{"a hole that a snapshot covers", remove(name(0, 0x12, 0x12), name(1, 0x12, 0x13), name(2, 0xf, 0x16)), "", ""},
		{"a hole at the end", remove(name(0, 0x17, 0x17), one), "gap", "17-18"},
		{"a hole in the middle", remove(name(0, 0xb, 0xb), name(1, 0xa, 0xb), two), "gap", "b-12"},
		{"no files", func(s *sample) {
			for _, level := range []string{"0", "1", "2", "9"} {
				require.NoError(s.t, os.RemoveAll(filepath.Join(s.root, "ltx", level)))
			}
		}, "nothing", ""},
		{"no snapshot and no beginning", remove(snapshot, old, name(9, 1, 1), name(0, 1, 1), name(1, 1, 1), name(2, 1, 6)), "nothing", ""},
		{"a file of level 9 that is no snapshot", func(s *sample) { s.write(name(9, 0x16, 0x16), s.read(name(0, 0x16, 0x16))) }, "no-snapshot", "16-18"},
		{"one between snapshots", func(s *sample) { s.write(name(9, 5, 5), s.read(name(0, 5, 5))) }, "no-snapshot", "5-18"},
		{"one that is of no state", func(s *sample) {
			f := storetest.Take(s.t, s.read(zero))
			f.Header.MinTXID, f.Header.MaxTXID = 0x20, 0x20
			s.write(name(9, 0x20, 0x20), f.Bytes())
		}, "no-snapshot", ""},
		{"a snapshot's file with the name of another that it isn't", func(s *sample) { s.write(name(9, 3, 3), s.read(name(9, 1, 1))) }, "name,no-snapshot", "4-5"},
		{"a link in place of a file", func(s *sample) {
			s.remove(one)
			require.NoError(s.t, os.Symlink("0000000000000014-0000000000000016.ltx", s.path(one)))
		}, "no-file", "18"},
		{"a directory with the name of a snapshot", func(s *sample) { require.NoError(s.t, os.Mkdir(s.path(name(9, 1, 0x14)), 0o755)) }, "no-file", "14-18"},
		{"a directory with the name of a later file", func(s *sample) { require.NoError(s.t, os.Mkdir(s.path(name(0, 0x19, 0x19)), 0o755)) }, "no-file", "19"},
		{"the first TXID is zero", func(s *sample) {
			s.write(name(2, 0, 6), s.read(name(2, 1, 6)))
			s.remove(name(2, 1, 6))
		}, "name", ""},
		{"a snapshot of another size than others that end there", func(s *sample) {
			f := storetest.Take(t, s.read(old))
			f.Header.MaxTXID = 0xa
			s.write(name(9, 1, 0xa), f.Bytes())
		}, "conflict", ""},
		{"zeros in a snapshot", func(s *sample) {
			data := s.read(snapshot)
			clear(data[5000:9096])
			s.write(snapshot, data)
		}, "pages", "13-18"},
		{"zeros to the end of a snapshot", func(s *sample) {
			data := s.read(snapshot)
			clear(data[5000:])
			s.write(snapshot, data)
		}, "", "13-18"},
		{"two pages of a snapshot in each other's place", forge(name(2, 1, 6), func(f *storetest.Forged) { f.Frames[0], f.Frames[1] = f.Frames[1], f.Frames[0] }), "", "6-8"},
		{"a stray", func(s *sample) {
			for _, name := range []string{"0000000000000019-0000000000000019.ltx.tmp", "0000000000000018-0000000000000017.ltx"} {
				require.NoError(s.t, os.WriteFile(filepath.Join(s.root, "ltx/0", name), nil, 0o600))
			}
		}, "stray", ""},
		{"files that overlap", func(s *sample) { s.write(name(0, 0x17, 0x18), s.read(one)) }, "overlap,overlap", ""},
	}
	require.GreaterOrEqual(t, len(cases), 40)
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := &sample{t, ltxfstest.Orders(t)}
			c.damage(s)
			r := ltxfstest.Ltxfs(t, "verify", "--json", s.root)
			harmless := c.codes == "stray" || c.codes == "overlap,overlap"
			if c.codes == "" && c.lost == "" || harmless {
				require.Zero(t, r.Code, r)
			} else {
				require.Equal(t, ltxfstest.ExitDamaged, r.Code, r)
			}
			v := verify(t, r.Code, s.root)
			var codes []string
			var lost, doubtful []verifyRange
			for _, f := range v.findings {
				codes = append(codes, f.Code)
				lost, doubtful = append(lost, f.Lost...), append(doubtful, f.Doubtful...)
				require.NotEmpty(t, f.Detail)
				require.NotEmpty(t, f.Advice)
				require.Equal(t, !harmless, f.Meaning != "", f)
				if f.Code == "page-index" && len(f.Doubtful) > 0 {
					ours := ltxfstest.Ltxfs(t, "restore", s.root, "--txid="+ltx.TXID(f.Doubtful[0].Min).String(), "-o", filepath.Join(t.TempDir(), "out.db"))
					require.Equal(t, ltxfstest.ExitDamaged, ours.Code, "where another tool does: %v", ours)
					require.Contains(t, f.Advice, "litestream restore")
				}
			}
			slices.Sort(codes)
			if c.codes != "" || c.lost == "" {
				require.Equal(t, c.codes, strings.Join(codes, ","), r)
			} else {
				require.Len(t, codes, 1, r)
			}
			for _, r := range v.Lost {
				require.True(t, has(lost, ltx.TXID(r.Min)) && has(lost, ltx.TXID(r.Max)), "lost in the summary alone: %v", r)
			}
			want := rangesOf(t, c.lost)
			for txid := ltx.TXID(1); txid <= 0x18; txid++ {
				is := has(lost, txid)
				assert.Equal(t, has(want, txid), is, "state %s is lost: %s", txid, r.Stdout)
				if !is && txid < 9 && txid%4 != 0 {
					continue // a sample of what is sound is enough
				}
				requireAgrees(t, s, txid, is || v.States == 0, has(doubtful, txid))
			}
		})
	}
}

// rangesOf parses ranges such as 9,13-15.
func rangesOf(t *testing.T, text string) (all []verifyRange) {
	t.Helper()
	parse := func(hex string) ltxTXID {
		txid, err := ltx.ParseTXID(fmt.Sprintf("%016s", hex))
		require.NoError(t, err)
		return ltxTXID(txid)
	}
	for one := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' }) {
		first, last, _ := strings.Cut(one, "-")
		all = append(all, verifyRange{parse(first), parse(cmp.Or(last, first))})
	}
	return all
}

// requireAgrees checks by litestream restore what was said of a state.
func requireAgrees(t *testing.T, s *sample, txid ltx.TXID, lost, doubtful bool) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.db")
	cmd := exec.Command(ltxfstest.Tool(t, "litestream"), "restore", "-txid", txid.String(), "-o", out, "file://"+s.root)
	cmd.Env = ltxfstest.Env()
	text, err := cmd.CombinedOutput()
	if err != nil {
		if !lost { // no file may end there
			ends, globErr := filepath.Glob(filepath.Join(s.root, "ltx/?/*-"+txid.String()+".ltx"))
			require.NoError(t, globErr)
			require.True(t, len(ends) == 0, "verify doesn't say that state %s is lost: %s", txid, text)
		}
		return
	}
	require.False(t, lost, "state %s is not lost", txid)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	if doubtful {
		return
	}
	byTXID, _ := ltxfstest.OrdersStates(t)
	require.Equal(t, byTXID[txid-1].TXID, txid.String())
	require.Equal(t, byTXID[txid-1].SHA256, ltxfstest.SHA256(data), "state %s is another", txid)
}

// While Litestream writes, compacts and deletes, verify finds the replica sound, and what it
// says is proven can be restored.
func TestVerifyCommandLive(t *testing.T) {
	t.Parallel()
	root, db := t.TempDir(), ltxfstest.NewDatabase(t)
	db.Write()
	ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(db.Path, "file://"+root))
	ltxfstest.Eventually(t, ltxfstest.Timeout, "there is a snapshot", func() bool {
		snapshots, err := filepath.Glob(filepath.Join(root, "ltx/9/*.ltx"))
		return err == nil && len(snapshots) > 0
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ltxfstest.WriteFor(15*time.Second, db)
	}()
	runs, first, last := 0, "", ""
	for writing := true; writing; runs++ {
		v := verify(t, ltxfstest.ExitOK, root, "--check=full")
		require.Empty(t, v.findings)
		last = v.Proven.TXID
		first = cmp.Or(first, last)
		select {
		case <-done:
			writing = false
		default:
		}
	}
	db.Close()
	require.Greater(t, last, first)
	require.Greater(t, runs, 5)
	t.Logf("%d runs, of states %s to %s", runs, first, last)
}
