package ltxfstest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// LitestreamConfig is a configuration that replicates a database to a URL. It
// compacts every second or two, takes a snapshot every five, and deletes what twelve
// seconds of snapshots don't need: of those, three are always left. Level 0 is pruned
// after each compaction only: Litestream's periodic check would run beside it, and
// either may find that the other has deleted a file already. At its end it has time for what
// a busy machine has left to upload.
func LitestreamConfig(db, url string) string {
	return fmt.Sprintf(`
levels:
  - interval: 1s
  - interval: 2s
snapshot:
  interval: 5s
  retention: 12s
l0-retention: 5s
l0-retention-check-interval: 1h
verify-compaction: true
shutdown-timeout: 4m
shutdown-sync-timeout: 4m
logging:
  type: json
dbs:
  - path: %s
    monitor-interval: 100ms
    replica:
      url: %s
      sync-interval: 200ms
`, db, url)
}

// Litestream is a `litestream replicate` at work.
type Litestream struct {
	Config string // the path of its configuration

	cmd  *exec.Cmd
	log  string // a file with JSON lines
	done chan error
}

// StartLitestream replicates with a configuration, which must ask for a log of
// type json, and with env added to the environment. It is killed when the test
// ends.
func StartLitestream(t testing.TB, config string, env ...string) *Litestream {
	t.Helper()
	dir := t.TempDir()
	l := &Litestream{
		Config: filepath.Join(dir, "litestream.yml"),
		log:    filepath.Join(dir, "litestream.log"),
		done:   make(chan error, 1),
	}
	if err := os.WriteFile(l.Config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(l.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l.cmd = exec.Command(Tool(t, "litestream"), "replicate", "-config", l.Config)
	l.cmd.Env = append(Env(), env...)
	l.cmd.Stdout, l.cmd.Stderr = log, log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.done <- l.cmd.Wait() }()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(l.log)
			t.Logf("the end of Litestream's log:\n%s", log[max(0, len(log)-20_000):])
		}
	})
	return l
}

// Signal sends Litestream a signal.
func (l *Litestream) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := l.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to Litestream: %v", sig, err)
	}
}

// Stop has Litestream upload what is left, and end.
func (l *Litestream) Stop(t testing.TB) {
	t.Helper()
	l.Signal(t, syscall.SIGTERM)
	select {
	case err := <-l.done:
		if err != nil {
			t.Fatalf("Litestream's end: %v\n%s", err, strings.Join(l.Warnings(t), ""))
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("Litestream doesn't end after SIGTERM")
	}
}

// logLine is a line of Litestream's log.
type logLine struct {
	Msg          string `json:"msg"`
	DeletedCount int    `json:"deleted_count"`
	text         string
}

func (l *Litestream) lines(t testing.TB) []logLine {
	t.Helper()
	log, err := os.ReadFile(l.log)
	if err != nil {
		t.Fatal(err)
	}
	var all []logLine
	for text := range strings.Lines(string(log)) {
		if !strings.HasSuffix(text, "\n") {
			break // still being written
		}
		line := logLine{text: text}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("a line of Litestream's log: %s: %v", text, err)
		}
		all = append(all, line)
	}
	return all
}

// Warnings are the lines of the log above level INFO, but for those of what a signal
// has broken off. Litestream logs its own field "level" too, so that the JSON has the
// key twice: the first is the severity.
func (l *Litestream) Warnings(t testing.TB) []string {
	t.Helper()
	var warnings []string
	ending := false
	for _, line := range l.lines(t) {
		ending = ending || strings.HasPrefix(line.Msg, "signal received")
		if ending && strings.Contains(line.text, "context canceled") {
			continue
		}
		if strings.Contains(line.text, `"level":"WARN"`) || strings.Contains(line.text, `"level":"ERROR"`) {
			warnings = append(warnings, line.text)
		}
	}
	return warnings
}

// Deleted is how many files retention says it has deleted.
func (l *Litestream) Deleted(t testing.TB) int {
	t.Helper()
	n := 0
	for _, line := range l.lines(t) {
		n += line.DeletedCount
	}
	return n
}
