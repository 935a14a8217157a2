package s3

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxAnswer is the most of an answer that isn't an object, in bytes. A page of a
// listing has some hundred thousand.
const maxAnswer = 16 << 20

// capAnswers bounds what the SDK reads into memory: documents, and errors. Without
// it, an answer without an end would fill the memory.
func capAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("CapAnswers",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			answer, ok := out.RawResponse.(*smithyhttp.Response)
			if !ok || answer.Response == nil || answer.Body == nil {
				return out, metadata, err
			}
			if middleware.GetOperationName(ctx) != "GetObject" || answer.StatusCode >= 300 {
				answer.Body = &capped{ReadCloser: answer.Body, left: maxAnswer + 1}
			}
			return out, metadata, err
		}), middleware.After)
}

// capped is a body that may not be longer than left.
type capped struct {
	io.ReadCloser
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
