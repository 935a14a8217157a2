// Package contrib checks the examples in contrib by what reads them: the parser of
// Dockerfiles, Compose's loader with its schema, the types of Kubernetes' API, and Grafana's
// schema of dashboards. It is a module of its own, since these are large.
package contrib

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	root = "../.."
	dir  = root + "/contrib"
)

func TestDockerfile(t *testing.T) {
	f, err := os.Open(filepath.Join(dir, "Dockerfile"))
	require.NoError(t, err)
	defer f.Close()
	parsed, err := parser.Parse(f)
	require.NoError(t, err)
	require.Empty(t, parsed.Warnings)
	var warnings []string
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, what string, _ []parser.Range) {
		warnings = append(warnings, rule+": "+what)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Len(t, stages, 2)
}

// The reader's container sees what ltxfs mounts in its own, and what mounts is a command
// that ltxfs takes.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")})
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	ltxfs, reader := project.Services["ltxfs"], project.Services["reader"]
	require.FileExists(t, filepath.Join(ltxfs.Build.Context, ltxfs.Build.Dockerfile))
	propagation := func(s types.ServiceConfig) map[string]string {
		binds := map[string]string{}
		for _, v := range s.Volumes {
			if v.Bind != nil {
				binds[v.Source+" "+v.Target] = v.Bind.Propagation
			}
		}
		return binds
	}
	require.Equal(t, map[string]string{"/srv/replicas /replicas": "rshared"}, propagation(ltxfs))
	require.Equal(t, map[string]string{"/srv/replicas /replicas": "rslave"}, propagation(reader))
	require.Len(t, ltxfs.Command, 1)
	requireMounts(t, ltxfs.Command[0])
}

func TestKubernetes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(dir, "kubernetes.yaml"))
	require.NoError(t, err)
	var pod corev1.Pod
	require.NoError(t, yaml.UnmarshalStrict(data, &pod))
	require.Equal(t, "v1 Pod", pod.APIVersion+" "+pod.Kind)
	sidecar, reader := pod.Spec.InitContainers[0], pod.Spec.Containers[0]
	require.Equal(t, corev1.ContainerRestartPolicyAlways, *sidecar.RestartPolicy)
	require.Equal(t, corev1.MountPropagationBidirectional, *sidecar.VolumeMounts[0].MountPropagation)
	require.True(t, *sidecar.SecurityContext.Privileged, "Kubernetes wants it for that propagation")
	require.Equal(t, corev1.MountPropagationHostToContainer, *reader.VolumeMounts[0].MountPropagation)
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range append(sidecar.VolumeMounts, reader.VolumeMounts...) {
		require.True(t, volumes[m.Name], m.Name)
	}
	require.Len(t, sidecar.Command, 3)
	requireMounts(t, sidecar.Command[2])
}

// The dashboard is one by Grafana's schema. Its expressions are checked by integration.TestDashboard.
func TestDashboard(t *testing.T) {
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	data, err := os.ReadFile(filepath.Join(dir, "dashboard.json"))
	require.NoError(t, err)
	//lint:ignore SA1019 the file is in this form, and not in the newer one
	var parsed dashboard.Dashboard
	require.Empty(t, parsed.UnmarshalJSONStrict(data)) // no error is an empty list
	require.NoError(t, parsed.Validate())
	require.NotEmpty(t, parsed.Panels)
}

// requireMounts makes sure that the ltxfs that a shell's command ends with is called rightly.
func requireMounts(t *testing.T, script string) {
	t.Helper()
	_, command, ok := strings.Cut(script, "; exec ltxfs mount ")
	require.True(t, ok, script)
	cmd := exec.Command("go", append([]string{"run", "./cmd/ltxfs", "mount", "--print-config"}, strings.Fields(command)...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Regexp(t, `(?m)^mountpoint +/replicas/orders +command line$`, string(out))
	require.Regexp(t, `(?m)^allow-other +true +--allow-other$`, string(out))
}
