package replica_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

func TestLevelDir(t *testing.T) {
	for _, tt := range []struct {
		layout replica.Layout
		want   []string
	}{
		{replica.LitestreamFile, []string{
			"ltx/0", "ltx/1", "ltx/2", "ltx/3", "ltx/4", "ltx/5", "ltx/6", "ltx/7", "ltx/8", "ltx/9",
		}},
		{replica.LitestreamS3, []string{
			"0000", "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009",
		}},
		{replica.Guide, []string{
			"ltx/0000", "ltx/0001", "ltx/0002", "ltx/0003", "ltx/0004", "ltx/0005", "ltx/0006", "ltx/0007", "ltx/0008", "snapshots",
		}},
	} {
		t.Run(tt.layout.Name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.layout.LevelDirs())
			for level, want := range tt.want {
				assert.Equal(t, want, tt.layout.LevelDir(level))
			}
			assert.False(t, tt.layout.IsZero())
			assert.Equal(t, tt.layout.Name, tt.layout.String())
		})
	}
	assert.True(t, replica.Layout{}.IsZero())
}

// Files tell their layout only if no directory belongs to two.
func TestLayoutsShareNothing(t *testing.T) {
	owner := make(map[string]string)
	for _, l := range replica.Layouts {
		for _, dir := range l.LevelDirs() {
			assert.Empty(t, owner[dir], "%s belongs to %s and %s", dir, owner[dir], l)
			owner[dir] = l.Name
		}
	}
	assert.Len(t, owner, len(replica.Layouts)*(replica.MaxLevel+1))
}

func TestLayoutByName(t *testing.T) {
	for _, want := range replica.Layouts {
		got, err := replica.LayoutByName(want.Name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	auto, err := replica.LayoutByName("auto")
	require.NoError(t, err)
	assert.True(t, auto.IsZero())
	for _, name := range []string{"", "s3", "Guide"} {
		_, err := replica.LayoutByName(name)
		require.Error(t, err)
		for _, known := range []string{"litestream-file", "litestream-s3", "guide", "auto"} {
			assert.ErrorContains(t, err, known)
		}
	}
}

func TestDetectLayout(t *testing.T) {
	all := replica.Layouts
	for _, tt := range []struct {
		name  string
		holds []replica.Layout
		want  replica.Layout
		mixed string // what the error names
	}{
		{name: "nothing", want: replica.LitestreamS3},
		{name: "one", holds: all[:1], want: all[0]},
		{name: "another", holds: all[2:], want: all[2]},
		{name: "two", holds: all[1:], mixed: "litestream-s3 and guide"},
		{name: "all", holds: all, mixed: "litestream-file and litestream-s3 and guide"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := replica.DetectLayout(func(l replica.Layout) (bool, error) {
				for _, held := range tt.holds {
					if held == l {
						return true, nil
					}
				}
				return false, nil
			}, replica.LitestreamS3)
			if tt.mixed != "" {
				require.ErrorIs(t, err, replica.ErrMixedLayouts)
				assert.ErrorContains(t, err, tt.mixed)
				assert.ErrorContains(t, err, "--layout")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	broken := errors.New("broken")
	_, err := replica.DetectLayout(func(replica.Layout) (bool, error) { return false, broken }, replica.Guide)
	require.ErrorIs(t, err, broken)
}
