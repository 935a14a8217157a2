package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	// propertyFreshness is that of the mounts of the property test, and
	// propertySlack what a busy machine may add.
	propertyFreshness = 100 * time.Millisecond
	propertySlack     = 400 * time.Millisecond

	// propertyOperations is how many operations a run has.
	propertyOperations = 5000

	// shownOperations is how many of them a failure prints.
	shownOperations = 150

	maxHandles = 6 // that a mount has open
)

// Two mounts that can write, and another writer behind them, do anything to the
// same few names, and a model in memory says what may come of it.
//
// LTXFS_SEED repeats a run, and LTXFS_OPERATIONS is how long it is. What another
// writer's change looks like in a mount depends on time, too, so that a repeated
// run needn't take the same course to its end.
func TestProperty(t *testing.T) {
	t.Run("passthrough", func(t *testing.T) {
		t.Parallel()
		requireRoot(t, "passthrough")
		runProperty(t, nil)
	})
	t.Run("through the cache", func(t *testing.T) {
		t.Parallel()
		runProperty(t, ltxfstest.User(t))
	})
}

func runProperty(t *testing.T, cred *syscall.Credential) {
	seed := fromEnv(t, "LTXFS_SEED", uint64(time.Now().UnixNano()))
	operations := int(fromEnv(t, "LTXFS_OPERATIONS", propertyOperations))
	r := &run{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), root: t.TempDir(),
		model: newModel(propertyFreshness, propertySlack),
		done:  map[string]int{},
	}
	t.Cleanup(func() { r.report(seed, operations) })
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		require.NoError(t, os.MkdirAll(filepath.Join(r.root, replica.LitestreamFile.LevelDir(level)), 0o755))
	}
	r.staging = t.TempDir()
	ltxfstest.Give(t, cred, r.root, r.staging)
	for _, name := range []string{"A", "B"} {
		m := ltxfstest.MountWith(t, r.root, ltxfstest.MountOptions{Credential: cred, Flags: r.flags()})
		requirePassthrough(t, m, cred == nil && os.Geteuid() == 0)
		r.users = append(r.users, &user{name: name, m: m, p: ltxfstest.NewProcess(t, m.Dir, cred), view: newView(r.model)})
	}

	r.began = time.Now()
	for range operations {
		r.step()
	}
	took := time.Since(r.began)
	r.finish(cred)
	t.Logf("%d operations in %v, %d publications; a change showed after %v at most; %v",
		operations, took.Round(time.Millisecond), r.published, r.stalest.Round(time.Millisecond), r.done)
}

// fromEnv is a number from the environment.
func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	v, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, name)
	return v
}

// requirePassthrough checks how a mount says that it reads files on disk.
func requirePassthrough(t *testing.T, m *ltxfstest.Mounted, on bool) {
	t.Helper()
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the log says how files are read", func() bool {
		return strings.Contains(m.Log(), "passthrough is ")
	})
	require.Equal(t, on, strings.Contains(m.Log(), "passthrough is on"), m.Log())
	require.Equal(t, !on, strings.Contains(m.Log(), "passthrough is off"), m.Log())
}

// requireRoot fails a test that only root can do.
func requireRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("%s is to be had by root alone: run the tests as root", what)
	}
}

// run is one run of the property test.
type run struct {
	*model
	t       *testing.T
	rng     *rand.Rand
	root    string
	staging string
	users   []*user
	foreign foreignWriter

	began     time.Time
	log       []string
	subject   fileName // of the last operation
	done      map[string]int
	contents  int // made so far
	published int
}

// user is a mount with a process that uses it.
type user struct {
	name string
	m    *ltxfstest.Mounted
	p    *ltxfstest.Process
	*view
	handles []*handle
}

func (r *run) flags() []string {
	return []string{"--rw", "--freshness=" + r.freshness.String(), "--staging-dir=" + r.staging}
}

// operation is something that a user does, with how often it does it.
type operation struct {
	weight int
	name   string
	do     func(r *run, u *user)
}

var operations = []operation{
	{18, "write a file", (*run).writeFile},
	{6, "open to write", (*run).openToWrite},
	{14, "use a handle", (*run).useHandle},
	{10, "read a file", (*run).readFile},
	{8, "open to read", (*run).openToRead},
	{8, "stat", (*run).stat},
	{6, "list", (*run).list},
	{14, "rename", (*run).renameFile},
	{9, "unlink", (*run).unlinkFile},
	{2, "truncate", (*run).truncateFile},
	{2, "set attributes", (*run).setAttributes},
	{2, "what is refused", (*run).refused},
	{14, "foreign write", func(r *run, _ *user) { r.foreignWrite() }},
	{5, "foreign delete", func(r *run, _ *user) { r.foreignDelete() }},
	{2, "settle", func(r *run, _ *user) { r.settle() }},
}

// step does one operation.
func (r *run) step() {
	total := 0
	for _, op := range operations {
		total += op.weight
	}
	u := r.users[r.rng.IntN(len(r.users))]
	for pick, i := r.rng.IntN(total), 0; ; i++ {
		if pick -= operations[i].weight; pick < 0 {
			r.done[operations[i].name]++
			operations[i].do(r, u)
			return
		}
	}
}

// note logs what is about to be done, to the first name among the arguments.
func (r *run) note(format string, args ...any) {
	for _, arg := range slices.Backward(args) {
		if n, ok := arg.(fileName); ok {
			r.subject = n
		}
	}
	at := time.Since(r.began).Truncate(100 * time.Microsecond)
	r.log = append(r.log, at.String()+" "+fmt.Sprintf(format, args...))
}

// check fails the test unless ok.
func (r *run) check(ok bool, format string, args ...any) {
	r.t.Helper()
	if !ok {
		r.t.Fatalf("in operation %d, %s:\n%s", len(r.log), r.log[len(r.log)-1], fmt.Sprintf(format, args...))
	}
}

// wantOneOf fails the test unless err is one of those that are right. nil is one.
func (r *run) wantOneOf(err error, right ...error) {
	r.t.Helper()
	r.log[len(r.log)-1] += fmt.Sprintf(": %v", err)
	if !slices.Contains(right, err) {
		r.check(false, "%v, want one of %v: %s", err, right, r.compare(r.subject, nil))
	}
}

// report tells how to repeat a run that failed, and what it did.
func (r *run) report(seed uint64, operations int) {
	if !r.t.Failed() {
		return
	}
	r.t.Logf("to repeat it: LTXFS_SEED=%d LTXFS_OPERATIONS=%d go test ./integration -run '^%s$'", seed, operations, r.t.Name())
	from := max(0, len(r.log)-shownOperations)
	r.t.Logf("the last operations:\n%s", strings.Join(r.log[from:], "\n"))
	same := slices.DeleteFunc(slices.Clone(r.log), func(line string) bool { return !strings.Contains(line, r.subject.String()) })
	r.t.Logf("the last operations on %s:\n%s", r.subject, strings.Join(same[max(0, len(same)-shownOperations):], "\n"))
}

// settle waits until both mounts show what the replica holds and the freshness
// interval has passed: from then on, they may show nothing older. It looks at the
// replica itself, too.
func (r *run) settle() {
	r.note("settle")
	since := time.Now()
	for _, u := range r.users {
		shows := func(what string, is func() bool) {
			r.t.Helper()
			ltxfstest.Eventually(r.t, r.freshness+r.slack, u.name+" shows the present "+what, is)
		}
		for _, n := range ltxNames {
			if u.staged[n] != nil {
				continue // it hides the other
			}
			now := r.now(n)
			// First the time: reading makes a mount look again.
			shows("time of "+n.String(), func() bool {
				at := time.Now()
				st, err := u.p.Stat(n.String())
				r.showedStat(u, n, at, st, err)
				return now == nil && err != nil || err == nil && sameStat(st)(now)
			})
			shows("content of "+n.String(), func() bool {
				at := time.Now()
				data, err := u.p.ReadFile(n.String())
				r.showed(u, n, at, data, err)
				return now == nil && err != nil || err == nil && sameBytes(data)(now)
			})
		}
		for _, level := range levels {
			shows("list of level "+strconv.Itoa(level), func() bool {
				return slices.Equal(r.listLevel(u, path.Dir(fileName{level, "x"}.String())), r.presentNames(u, level))
			})
		}
	}
	ltxfstest.Eventually(r.t, r.freshness+r.slack, "the freshness interval is over", func() bool {
		return time.Since(since) > r.freshness
	})
	for _, u := range r.users {
		for _, n := range ltxNames {
			u.forgetOlder(n)
		}
	}
	r.requireReplica()
}

// requireReplica checks that the replica's directory holds what the model says,
// byte for byte, and nothing else, and the times.
func (r *run) requireReplica() {
	want := map[string]string{}
	for n := range r.states {
		if c := r.now(n); c != nil {
			want[ltxfstest.StorePath(n.level, n.name)] = ltxfstest.SHA256(c.data)
			info, err := os.Stat(filepath.Join(r.root, ltxfstest.StorePath(n.level, n.name)))
			require.NoError(r.t, err)
			require.Equal(r.t, c.modTime, info.ModTime().UTC(), "mtime of %s in the replica", n)
		}
	}
	for n, w := range r.foreign.pending {
		if !w.renamed {
			want[ltxfstest.StorePath(n.level, n.name)+".tmp"] = ltxfstest.SHA256(w.content.data)
		}
	}
	require.Equal(r.t, want, ltxfstest.Tree(r.t, r.root), "what the replica's directory holds")
}

// presentNames are what a mount lists of a level once it has seen all changes.
func (r *run) presentNames(u *user, level int) []string {
	names := []string{}
	for _, n := range ltxNames {
		if n.level == level && u.staged[n] == nil && r.now(n) != nil {
			names = append(names, n.name)
		}
	}
	for n := range u.staged {
		if n.level == level {
			names = append(names, n.name)
		}
	}
	slices.Sort(names)
	return names
}

// finish ends what is under way, and then the mounts: they leave the replica as
// the model has it, and the staged files in the staging directory, and name them.
func (r *run) finish(cred *syscall.Credential) {
	r.foreign.finish(r)
	for _, u := range r.users {
		for len(u.handles) > 0 {
			r.close(u, u.handles[0])
		}
	}
	r.settle()

	all := map[string]string{} // staged files by the end of their path
	var names []string
	for _, u := range r.users {
		maps.DeleteFunc(u.staged, func(_ fileName, s *stagedFile) bool { return s.unused() })
		want := ltxfstest.ExitOK
		if len(u.staged) > 0 {
			want = ltxfstest.ExitUnpublished
		}
		require.Equal(r.t, want, u.m.Terminate(r.t), u.m.Log())
		var own []string
		for n, s := range u.staged {
			line := fmt.Sprintf("%s (%d bytes)", n, len(s.data))
			own, names = append(own, line), append(names, line)
			all[u.name+" "+n.String()] = ltxfstest.SHA256(s.data)
		}
		require.ElementsMatch(r.t, own, namedIn(u.m.Log(), "unpublished, not in the replica:"), "what unmounting %s names", u.name)
	}
	r.requireReplica()

	inStaging := map[string]int{}
	for path, sum := range ltxfstest.Tree(r.t, r.staging) {
		if !strings.HasSuffix(path, ".lock") {
			inStaging[path[strings.Index(path, "ltx/0"):]+" "+sum]++
		}
	}
	want := map[string]int{}
	for name, sum := range all {
		want[name[len("A "):]+" "+sum]++
	}
	require.Equal(r.t, want, inStaging, "what the staging directory holds")

	next := ltxfstest.MountWith(r.t, r.root, ltxfstest.MountOptions{Credential: cred, Flags: r.flags()})
	require.ElementsMatch(r.t, names, namedIn(next.Log(), "unpublished, not in the replica:"), "what the next mount names")
	require.Equal(r.t, ltxfstest.ExitOK, next.Terminate(r.t), next.Log())
}

// namedFile is a line of a list of files that ltxfs prints.
var namedFile = regexp.MustCompile(`^  (\S.* \(\d+ bytes\))(:|, in) `)

// namedIn are the files in the list that begins after a line with that end.
func namedIn(log, after string) []string {
	var names []string
	_, list, _ := strings.Cut(log, after+"\n")
	for line := range strings.Lines(list) {
		if m := namedFile.FindStringSubmatch(line); m != nil {
			names = append(names, m[1])
		}
	}
	return names
}
