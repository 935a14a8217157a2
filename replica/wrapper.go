package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Wrapper is a store around Store that passes everything on, to be embedded in one
// that changes some of it. It doesn't pass on OpenLocal: what a wrapper does to
// reading, the kernel would not do. One that does nothing to reading adds
//
//	func (w *wrapper) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
//		return w.Store.OpenLocal(ctx, f)
//	}
type Wrapper struct{ Store }

// OpenLocal returns an error that wraps errors.ErrUnsupported.
func (Wrapper) OpenLocal(_ context.Context, f File) (*os.File, error) {
	return nil, NewFileError("open", f.Name, fmt.Errorf("to be read through its store only: %w", errors.ErrUnsupported))
}
