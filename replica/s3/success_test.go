package s3

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// documented are the requests of whose answers a document is looked at, each with what
// sends it.
var documented = map[string]func(t *testing.T, c *Store) error{
	"PUT": func(t *testing.T, c *Store) error {
		_, err := write(t, c, bytes.NewReader(bytesOf(10)))
		return err
	},
	"CREATE":   writeParts,
	"PART":     writeParts,
	"COMPLETE": writeParts,
	"DELETE":   func(t *testing.T, c *Store) error { return c.DeleteLTXFiles(within(t, 20*time.Second), nths(1)...) },
	"BATCH":    func(t *testing.T, c *Store) error { return c.DeleteLTXFiles(within(t, 20*time.Second), nths(1, 2)...) },
}

func writeParts(t *testing.T, c *Store) error {
	_, err := write(t, smallParts(c), bytes.NewReader(bytesOf(testPart)))
	return err
}

// An error within an answer of success is one, with the store's reason. It is as final
// as its code is.
func TestErrorsIn200(t *testing.T) {
	const head = "  \n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	for op, ask := range documented {
		for _, tt := range []struct {
			code string
			sent int
			is   error
		}{
			{"AccessDenied", 1, os.ErrPermission},
			{"NeverHeardOf", 1, nil},
			{"SlowDown", 3, nil},
			{"InternalError", 3, nil},
		} {
			t.Run(op+" "+tt.code, func(t *testing.T) {
				answer := say(200, head+"<Error><Code>"+tt.code+"</Code><Message>It is so.</Message></Error>")
				s := serve(t, inParts(bytesOf(testPart), answers{op: answer, "HEAD": refuse(404, "")}))
				err := ask(t, s.store(t))
				require.ErrorContains(t, err, ": It is so. ("+tt.code+", HTTP status 200)")
				require.Len(t, s.of(op), tt.sent)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
			})
		}
	}
}

// A page of something else than a store is no success, and isn't asked for again.
func TestPagesIn200(t *testing.T) {
	for op, ask := range documented {
		for name, page := range map[string]string{
			"HTML":         "<!DOCTYPE html>\n<html lang=en><p>Sign in</html>",
			"broken HTML":  "<HTML><body><br>Sign & in",
			"XHTML":        `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>`,
			"Latin-1 HTML": "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><html>\xfc</html>",
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				s := serve(t, inParts(bytesOf(testPart), answers{op: say(200, page, "Content-Type", "text/html"), "HEAD": refuse(404, "")}))
				err := ask(t, s.store(t))
				require.ErrorContains(t, err, "the answer is no S3 answer: check the endpoint (HTTP status 200)")
				require.Len(t, s.of(op), 1)
			})
		}
	}
	for _, text := range []string{"OK", `{"message":"hello"}`} {
		s := serve(t, answers{"PUT": say(200, text)})
		_, err := write(t, s.store(t), bytes.NewReader(bytesOf(10)))
		require.ErrorContains(t, err, "the answer is no S3 answer: check the endpoint (HTTP status 200)")
		require.Equal(t, "PUT", s.ops())
	}
}
