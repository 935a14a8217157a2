package credentials

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"golang.org/x/sys/unix"
)

// WithPatience bounds the programs that the SDK runs.
func WithPatience() config.LoadOptionsFunc { return config.WithProcessCredentialOptions(setTimeout) }

func setTimeout(o *processcreds.Options) { o.Timeout = patience }

// newProcess runs a credential_process as the SDK does, and ends it with all that it has
// started. The SDK's own ends the shell alone, and waits for the rest.
func newProcess(commandLine string) aws.CredentialsProvider {
	return processcreds.NewProviderCommand(processcreds.NewCommandBuilderFunc(func(ctx context.Context) (*exec.Cmd, error) {
		cmd, err := processcreds.DefaultNewCommandBuilder{Args: []string{commandLine}}.NewCommand(ctx)
		if err != nil {
			return nil, err
		}
		cmd.WaitDelay = time.Second
		// In a group of its own, it could ask nobody at a terminal for a code.
		if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		}
		return cmd, nil
	}), setTimeout)
}
