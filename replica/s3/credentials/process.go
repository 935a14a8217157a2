package credentials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"golang.org/x/sys/unix"
)

// maxPrinted is how much a credential_process may print, in bytes.
const maxPrinted = 64 << 10

// newProcess runs a credential_process as the SDK does, and ends it with all that it has
// started. The SDK's own ends the shell alone, and waits for the rest. It also passes on
// what the program writes to stderr, and repeats what it can't parse of the rest: either
// may hold secrets.
func newProcess(commandLine string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		c, err := processcreds.NewProviderCommand(processcreds.NewCommandBuilderFunc(func(ctx context.Context) (*exec.Cmd, error) {
			return command(ctx, commandLine)
		}), func(o *processcreds.Options) { o.Timeout = -1 }).Retrieve(ctx)
		if err != nil {
			err = processError(ctx, err)
		}
		return c, err
	})
}

func command(ctx context.Context, line string) (*exec.Cmd, error) {
	cmd, err := processcreds.DefaultNewCommandBuilder{Args: []string{line}}.NewCommand(ctx)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = new(bound(maxPrinted)), nil // the SDK gets the former as well
	cmd.WaitDelay = time.Second
	// In a group of its own, it could ask nobody at a terminal for a code.
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), getTermios); err != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	return cmd, nil
}

var errPrintsTooMuch = fmt.Errorf("it prints more than %d bytes", maxPrinted)

// bound takes so many bytes, and keeps none.
type bound int

func (b *bound) Write(p []byte) (int, error) {
	*b -= bound(len(p))
	if *b < 0 {
		return 0, errPrintsTooMuch
	}
	return len(p), nil
}

// processError is what a user can be told of an error of the SDK's.
func processError(ctx context.Context, err error) error {
	const byHand = "run it by hand to see what it says"
	exit, ended := errors.AsType[*exec.ExitError](err)
	failure, _ := errors.AsType[*processcreds.ProviderError](err)
	_, noShell := errors.AsType[*fs.PathError](err)
	switch {
	case ctx.Err() != nil:
		return silentError{}
	case ended:
		return fmt.Errorf("%v: %s", exit, byHand)
	case noShell, errors.Is(err, errPrintsTooMuch), errors.Is(err, exec.ErrWaitDelay), failure == nil:
		return err
	case errors.Unwrap(failure.Err) != nil: // of JSON or a time, with a part of it
		return errors.New("it prints no credentials: " + byHand)
	}
	return fmt.Errorf("%v: %s", failure.Err, byHand)
}
